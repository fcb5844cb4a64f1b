"""Where everything of one proxy is: sockets, files and ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controlplane.agent.environment import StartError
from controlplane.agent.node import PROMETHEUS_PORT, STATUS_PORT
from controlplane.agent.options import EVERYWHERE, LOOPBACK, Options

WORKLOAD_SOCKETS = Path("./var/run/secrets/workload-spiffe-uds")
FILE_SECRETS = Path("./var/run/secrets/credential-uds/files-socket")
CREDENTIALS = Path("./var/run/secrets/credential-uds/socket")


@dataclass(frozen=True, slots=True)
class Places:
    """``families`` are the IP versions of Envoy's own listeners, the first is that of everything else.

    A port of 0 means that there is none.
    """

    families: tuple[int, ...]
    xds: Path
    secrets: Path
    bootstrap: Path
    admin_port: int
    agent_port: int
    status_port: int
    prometheus_port: int
    secure_port: int = 0
    secure_merged_port: int = 0
    metrics_on_loopback: bool = False
    host_ip: str = ""

    @classmethod
    def of(cls, options: Options) -> Places:
        """Read what was said. Raises ``StartError``."""
        config, environment, workload = options.config, options.environment, options.workload
        folder = Path(config.text("configPath") or ".")
        socket = environment.text("WORKLOAD_IDENTITY_SOCKET_FILE", "socket")
        if "/" in socket:
            raise StartError(f"WORKLOAD_IDENTITY_SOCKET_FILE: {socket!r} must be a file's name, without a folder")
        local = config.metadata.get("METRICS_LOCALHOST_ACCESS_ONLY", "")
        return cls(
            families=workload.families,
            xds=folder / "XDS",
            secrets=WORKLOAD_SOCKETS / socket,
            bootstrap=folder / "envoy-rev.json",
            admin_port=config.port("proxyAdminPort"),
            agent_port=config.port("statusPort"),
            status_port=environment.number("ENVOY_STATUS_PORT", STATUS_PORT),
            prometheus_port=environment.number("ENVOY_PROMETHEUS_PORT", PROMETHEUS_PORT),
            secure_port=environment.number("ENVOY_SECURE_METRICS_PORT", 0),
            secure_merged_port=environment.number("ENVOY_SECURE_MERGED_METRICS_PORT", 0),
            metrics_on_loopback=local == "true",
            host_ip=environment.text("HOST_IP"),
        )

    @property
    def loopback(self) -> str:
        """The loopback address of the first family."""
        return LOOPBACK[self.families[0]]

    @property
    def everywhere(self) -> tuple[str, ...]:
        """The addresses that stand for all of each family."""
        return tuple(EVERYWHERE[family] for family in self.families)

    @property
    def here(self) -> tuple[str, ...]:
        """The loopback address of each family."""
        return tuple(LOOPBACK[family] for family in self.families)

    @property
    def own_ports(self) -> frozenset[int]:
        """The ports of the static listeners."""
        ports = (self.status_port, self.prometheus_port, self.secure_port, self.secure_merged_port)
        return frozenset(port for port in ports if port)

    def expanded(self, text: str) -> str:
        """Return an address with the node's in place of ``$(HOST_IP)``."""
        return text.replace("$(HOST_IP)", self.host_ip)


def relative(path: Path) -> str:
    """Return a path as Envoy is told it: relative ones say so."""
    return str(path) if path.is_absolute() else f"./{path}"


def socket_address(host: str, port: int) -> Mapping[str, object]:
    """Return ``envoy.config.core.v3.Address``."""
    return {"socket_address": {"address": host, "port_value": port}}
