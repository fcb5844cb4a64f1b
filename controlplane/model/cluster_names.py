"""Names that Istio gives clusters; tools parse them, so they are exact."""

from __future__ import annotations

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
DYNAMIC_DNS = "AllowAnyDynamicDNSCluster"
CREDENTIALS = "sds-external"


def outbound_name(port: int, subset: str, hostname: str) -> str:
    """Return the name of an outbound cluster; ``port`` is the service port."""
    return f"outbound|{port}|{subset}|{hostname}"


def host_of(name: str) -> str:
    """Return the host of an outbound cluster, empty for another one."""
    parts = name.split("|")
    return parts[3] if len(parts) == 4 and parts[0] == "outbound" else ""  # noqa: PLR2004 - direction, port, subset, host


def inbound_name(port: int) -> str:
    """Return the name of an inbound cluster; ``port`` is the workload's."""
    return f"inbound|{port}||"


def sni(port: int, subset: str, hostname: str) -> str:
    """Return the server name that mutual TLS clients send; cross-network gateways route by it."""
    return f"outbound_.{port}_.{subset}_.{hostname}"


def config_path(kind: str, namespace: str, name: str) -> str:
    """Return how resource metadata names the object behind it; ``kind`` is kebab-case."""
    return f"/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}"
