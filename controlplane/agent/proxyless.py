"""The bootstrap of applications that speak xDS themselves (gRPC without a proxy), and what their readiness needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.agent.environment import StartError
from controlplane.agent.output_certificates import NAMES

DEFAULT = "./etc/istio/proxy/grpc-bootstrap.json"
_TYPED = frozenset(
    {
        "INSTANCE_IPS",
        "NAMESPACE",
        "NAME",
        "SERVICE_ACCOUNT",
        "PROXY_CONFIG",
        "ISTIO_VERSION",
        "ISTIO_REVISION",
        "LABELS",
        "STATIC_LABELS",
        "ANNOTATIONS",
        "CLUSTER_ID",
        "MESH_ID",
        "NETWORK",
        "WORKLOAD_NAME",
        "OWNER",
        "INTERCEPTION_MODE",
        "PILOT_SAN",
        "POD_PORTS",
        "APP_CONTAINERS",
        "NODE_NAME",
        "PLATFORM_METADATA",
        "DNS_CAPTURE",
    }
)
_MODE = 0o644


def grpc_bootstrap(node: Mapping[str, Any], socket: Path, certificates: Path | None) -> dict[str, Any]:
    """Return the bootstrap. ``certificates`` is the folder that the agent writes them to, if it does."""
    metadata = {key: value for key, value in node["metadata"].items() if key in _TYPED} | {"GENERATOR": "grpc"}
    found: dict[str, Any] = {
        "xds_servers": [
            {
                "server_uri": f"unix:///{str(socket).lstrip('/')}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": node["id"], "metadata": metadata, "locality": node.get("locality", {})},
        "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
    }
    if certificates is not None:
        chain, key, root = (str(certificates / name) for name in NAMES)
        files = {"certificate_file": chain, "private_key_file": key, "ca_certificate_file": root}
        found["certificate_providers"] = {
            "default": {"plugin_name": "file_watcher", "config": {**files, "refresh_interval": "900s"}}
        }
    return found


class ProxylessBootstrap:
    """The file, and whether what it names is there."""

    def __init__(self, path: Path, certificates: Path | None) -> None:
        self._path = path
        self._certificates = certificates

    def write(self, node: Mapping[str, Any], socket: Path) -> None:
        """Write the file. Raises ``StartError``."""
        text = json.dumps(grpc_bootstrap(node, socket, self._certificates), indent=2)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.write_text(text, encoding="utf-8")
            self._path.chmod(_MODE)
        except OSError as error:
            raise StartError(f"{self._path} cannot be written: {error.strerror}") from None

    def problem(self) -> str:
        """Return which file is missing, empty where all are there."""
        paths = [self._path, *([self._certificates / name for name in NAMES] if self._certificates is not None else [])]
        missing = next((path for path in paths if not path.exists()), None)
        return f"{missing} is not there" if missing is not None else ""
