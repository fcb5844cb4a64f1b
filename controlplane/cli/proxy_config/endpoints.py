"""The table of endpoints: from Envoy's own view of hosts where there is one, else from load assignments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from controlplane.cli.proxy_config.dump import Dump, Json

HEADER = ("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER")


@dataclass(frozen=True)
class Host:
    """One endpoint. ``port`` is 0 where the address has none.

    ``source`` is what holds it and the others of its cluster: an entry of ``cluster_statuses``, or a load assignment.
    """

    address: str
    port: int
    status: str
    outlier_failed: bool
    cluster: str
    source: Json

    @property
    def text(self) -> str:
        """The address as the table shows it."""
        return f"{self.address}:{self.port}" if self.port else self.address

    @property
    def row(self) -> list[str]:
        """The cells of the table."""
        return [self.text, self.status, "FAILED" if self.outlier_failed else "OK", self.cluster]


@dataclass(frozen=True)
class EndpointFilter:
    """Which endpoints are shown, all exact; empty or 0 lets all pass."""

    address: str = ""
    port: int = 0
    cluster: str = ""
    status: str = ""

    def passes(self, host: Host) -> bool:
        """Whether an endpoint is shown."""
        return (
            self.address.lower() in {"", host.address.lower()}
            and self.port in {0, host.port}
            and self.cluster.lower() in {"", host.cluster.lower()}
            and self.status.lower() in {"", host.status.lower()}
        )


def selected_endpoints(dump: Dump, wanted: EndpointFilter) -> list[Host]:
    """Return the endpoints that pass, by address, port and cluster."""
    statuses = dump.cluster_statuses()
    hosts = _from_statuses(statuses) if statuses is not None else _from_assignments(dump.load_assignments())
    return sorted((host for host in hosts if wanted.passes(host)), key=_order)


def clusters_of(hosts: Iterable[Host]) -> list[Json]:
    """Return what holds these endpoints, whole and each once, by cluster."""
    found = {host.cluster: host.source for host in hosts}
    return [found[name] for name in sorted(found)]


def _order(host: Host) -> tuple[int, int, str, int, str]:
    try:
        address = ip_address(host.address)
        return (address.version, int(address), "", host.port, host.cluster)
    except ValueError:
        return (9, 0, host.address, host.port, host.cluster)


def _from_statuses(statuses: Iterable[Json]) -> Iterator[Host]:
    for cluster in statuses:
        for host in cluster.get("host_statuses", ()):
            address, port = _address(host.get("address", {}))
            health = host.get("health_status", {})
            failed = bool(health.get("failed_outlier_check"))
            status = health.get("eds_health_status", "UNKNOWN")
            yield Host(address, port, status, failed, cluster.get("name", ""), cluster)


def _from_assignments(load_assignments: Iterable[Json]) -> Iterator[Host]:
    for assignment in load_assignments:
        for locality in assignment.get("endpoints", ()):
            for member in locality.get("lb_endpoints", ()):
                address, port = _address(member.get("endpoint", {}).get("address", {}))
                status = member.get("health_status", "UNKNOWN")
                yield Host(address, port, status, False, assignment.get("cluster_name", ""), assignment)


def _address(address: Json) -> tuple[str, int]:
    if "pipe" in address:
        return f"unix://{address['pipe'].get('path', '')}", 0
    if "envoy_internal_address" in address:
        internal = address["envoy_internal_address"]
        return f"envoy://{internal.get('server_listener_name', '')}/{internal.get('endpoint_id', '')}", 0
    socket = address.get("socket_address", {})
    return str(socket.get("address", "")), int(socket.get("port_value", 0))
