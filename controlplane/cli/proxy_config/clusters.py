"""The table of clusters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.cli.proxy_config.dump import Json
from controlplane.cli.proxy_config.origin import origin

HEADER = ("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE")
_PARTS = 4  # direction|port|subset|host


@dataclass(frozen=True)
class ClusterName:
    """A cluster's name, taken apart; every part but ``fqdn`` is ``-`` where the name is no service's."""

    fqdn: str
    port: str = "-"
    subset: str = "-"
    direction: str = "-"

    @classmethod
    def parse(cls, name: str) -> ClusterName:
        """Read ``direction|port|subset|host``; any other name is the ``fqdn`` as it is."""
        parts = name.split("|", _PARTS - 1)
        if len(parts) < _PARTS:
            return cls(name)
        direction, port, subset, host = parts
        return cls(host, port, subset or "-", direction)


@dataclass(frozen=True)
class ClusterFilter:
    """Which clusters are shown: ``fqdn`` is a part of the name, the others are exact; empty or 0 lets all pass."""

    fqdn: str = ""
    port: int = 0
    subset: str = ""
    direction: str = ""

    def passes(self, cluster: Json) -> bool:
        """Whether a cluster is shown."""
        name = ClusterName.parse(cluster.get("name", ""))
        return (
            self.fqdn in name.fqdn
            and (not self.port or str(self.port) == name.port)
            and self.subset in {"", name.subset}
            and self.direction in {"", name.direction}
        )


def selected_clusters(clusters: Iterable[Json], wanted: ClusterFilter) -> list[Json]:
    """Return the clusters that pass, by host, subset, port and direction."""
    return sorted((cluster for cluster in clusters if wanted.passes(cluster)), key=_order)


def _order(cluster: Json) -> tuple[str, str, int, str]:
    name = ClusterName.parse(cluster.get("name", ""))
    subset = "" if name.subset == "-" else name.subset
    return (name.fqdn, subset, int(name.port) if name.port.isdecimal() else 0, name.direction)


def cluster_row(cluster: Json) -> list[str]:
    """Return the cells of one cluster."""
    name = ClusterName.parse(cluster.get("name", ""))
    return [name.fqdn, name.port, name.subset, name.direction, discovery_type(cluster), origin(cluster)]


def discovery_type(cluster: Json) -> str:
    """Return the discovery type; JSON leaves the default, STATIC, away. A custom cluster type has none: STATIC too."""
    return str(cluster.get("type", "STATIC"))
