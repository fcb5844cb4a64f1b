"""What a connected proxy said of itself, before anything in the registry is consulted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

LISTENER_PORTS = frozenset({15021, 15090})
"""Ports that listeners of the bootstrap have at every address: health and metrics."""
OWN_PORTS = LISTENER_PORTS | {15000, 15004, 15020, 15053}
"""Ports that something in the proxy's pod listens on before any listener of ours: also administration and agent."""


class Locality(NamedTuple):
    """Where something runs; empty parts are unknown. Source: ``envoy.config.core.v3.Locality``."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> Locality:
        """Read ``region/zone/subzone``; missing parts are empty."""
        region, zone, subzone = [*text.split("/", 2), "", ""][:3]
        return cls(region, zone, subzone)

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}/{self.subzone}" if self.region or self.zone or self.subzone else ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy's node, parsed. Source: ``envoy.config.core.v3.Node`` with the id ``type~ip~name.ns~domain``.

    ``type`` is ``sidecar`` or ``router``. ``id`` is ``<pod>.<namespace>``. ``ips`` are the addresses of the
    instance, the pod's first. ``domain`` is the DNS search domain (``default.svc.cluster.local``).
    ``metadata`` is the node metadata as plain JSON values; ``istio_version`` is empty for a stock Envoy.
    ``service_cluster`` is what the proxy calls its service (``Node.cluster``). ``envoy_minor`` is the second number of
    Envoy's version (``user_agent_build_version``), ``None`` where the node does not say it.
    """

    type: str
    id: str
    ips: tuple[str, ...]
    namespace: str
    domain: str
    labels: Mapping[str, str] = field(default_factory=dict)
    static_labels: Mapping[str, str] = field(default_factory=dict)
    locality: Locality = field(default_factory=Locality)
    cluster_id: str = "Kubernetes"
    network: str = ""
    istio_version: str = ""
    service_cluster: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    envoy_minor: int | None = None

    def __hash__(self) -> int:
        """Hash by identity of the instance; equality still compares every field."""
        return hash((self.type, self.id, self.ips))

    @property
    def name(self) -> str:
        """The pod's name: ``id`` without the namespace."""
        return self.id.removesuffix("." + self.namespace)
