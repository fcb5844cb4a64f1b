"""Finds resources in configuration dumps.

Shape: ``envoy.admin.v3.ConfigDump`` as JSON, or ``envoy.admin.v3.Clusters`` where only endpoints are asked for.
"""

from __future__ import annotations

import re  # noqa: TID251 - names of fields
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FREE_KEYS = {"metadata", "filter_metadata", "typed_filter_metadata", "labels", "values", "typed_per_filter_config"}
_LISTS = frozenset(
    {
        f"{source}_{sort}"
        for source in ("dynamic", "static")
        for sort in ("endpoint_configs", "listeners", "route_configs")
    }
    | {"dynamic_active_clusters", "dynamic_warming_clusters", "static_clusters", "virtual_hosts", "host_statuses"}
)
_OBJECTS = frozenset(
    {"active_state", "bootstrap", "cluster", "endpoint_config", "listener", "node", "route_config", "warming_state"}
)


class NotADump(ValueError):  # noqa: N818 - it reads as what was found
    """The JSON is no configuration dump."""


@dataclass(frozen=True)
class Dump:
    """One dump. ``document`` is the whole JSON object."""

    document: Json

    @classmethod
    def of(cls, document: Any) -> Dump:  # noqa: ANN401 - any JSON value
        """Take a dump as it was read; names in protobuf's other spelling (istiod's) are put into Envoy's.

        Raises:
            NotADump: it has neither ``configs`` nor ``cluster_statuses``, or one of them is not what Envoy writes.
        """
        if not isinstance(document, dict) or not ({"configs", "cluster_statuses", "clusterStatuses"} & document.keys()):
            raise NotADump('not a configuration dump of Envoy: it has no "configs"')
        _objects(document.get("configs", []), "configs")
        if _is_camel(document):
            document = _snake(document)
        for name in ("configs", "cluster_statuses"):
            for each in _objects(document.get(name, []), name):
                _check(each)
        return cls(document)

    def clusters(self, *, dynamic: bool = False) -> list[Json]:
        """Return the active clusters; with ``dynamic`` only those that came over xDS."""
        names = ["dynamic_active_clusters"] if dynamic else ["dynamic_active_clusters", "static_clusters"]
        return [entry["cluster"] for entry in self._entries("ClustersConfigDump", names) if "cluster" in entry]

    def listeners(self, *, dynamic: bool = False) -> list[Json]:
        """Return the active listeners; with ``dynamic`` only those that came over xDS."""
        active = [
            entry["active_state"]["listener"]
            for entry in self._entries("ListenersConfigDump", ["dynamic_listeners"])
            if "listener" in entry.get("active_state", {})
        ]
        if dynamic:
            return active
        static = self._entries("ListenersConfigDump", ["static_listeners"])
        return [*active, *(entry["listener"] for entry in static if "listener" in entry)]

    def warming(self) -> list[str]:
        """Return the names of the clusters and listeners that Envoy was given and does not use yet."""
        clusters = self._entries("ClustersConfigDump", ["dynamic_warming_clusters"])
        listeners = self._entries("ListenersConfigDump", ["dynamic_listeners"])
        names = [entry.get("cluster", {}).get("name", "") for entry in clusters]
        return sorted([*names, *(entry.get("name", "") for entry in listeners if "warming_state" in entry)])

    def routes(self, *, dynamic: bool = False) -> list[Json]:
        """Return the route configurations; with ``dynamic`` without those written inside a listener."""
        names = ["dynamic_route_configs"] if dynamic else ["dynamic_route_configs", "static_route_configs"]
        entries = self._entries("RoutesConfigDump", names)
        return [_called_as_built(entry["route_config"]) for entry in entries if "route_config" in entry]

    def load_assignments(self, *, dynamic: bool = False) -> list[Json]:
        """Return the load assignments; with ``dynamic`` only those that came over xDS."""
        names = ["dynamic_endpoint_configs"] if dynamic else ["dynamic_endpoint_configs", "static_endpoint_configs"]
        entries = self._entries("EndpointsConfigDump", names)
        return [entry["endpoint_config"] for entry in entries if "endpoint_config" in entry]

    def cluster_statuses(self) -> list[Json] | None:
        """Return the entries of ``/clusters?format=json``, ``None`` where this is no such document."""
        statuses: list[Json] | None = self.document.get("cluster_statuses")
        return statuses

    def node_id(self) -> str:
        """Return the id of Envoy's own node; empty where the dump does not say."""
        for section in self._sections("BootstrapConfigDump"):
            return str(section.get("bootstrap", {}).get("node", {}).get("id", ""))
        return ""

    def _entries(self, kind: str, names: list[str]) -> list[Json]:
        return [entry for section in self._sections(kind) for name in names for entry in section.get(name, ())]

    def _sections(self, kind: str) -> Iterator[Json]:
        for section in self.document.get("configs", ()):
            if str(section.get("@type", "")).endswith(f".{kind}"):
                yield section


def _objects(value: Any, name: str) -> list[Json]:  # noqa: ANN401 - any JSON value
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise NotADump(f'not a configuration dump of Envoy: "{name}" is no list of objects')
    return value


def _check(value: Json) -> None:
    """Raise ``NotADump`` where something that is looked into is no object, or no list of such."""
    for name, each in value.items():
        if name in _LISTS:
            for entry in _objects(each, name):
                _check(entry)
        elif name in _OBJECTS:
            if not isinstance(each, dict):
                raise NotADump(f'not a configuration dump of Envoy: "{name}" is no object')
            if name != "node":
                _check(each)


def _is_camel(document: Json) -> bool:
    names = {name for section in document.get("configs", ()) for name in section}
    return "clusterStatuses" in document or any(_CAMEL.search(name) for name in names)


def _snake(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_snake(each) for each in value]
    if not isinstance(value, dict):
        return value
    renamed = {_CAMEL.sub("_", name).lower() if name[:1].islower() else name: each for name, each in value.items()}
    return {name: each if name in _FREE_KEYS and name != "metadata" else _snake(each) for name, each in renamed.items()}


def _called_as_built(route_configuration: Json) -> Json:
    """Return a route configuration whose virtual hosts are called as they were built.

    Those that came one by one (VHDS) have the names of resources: ``<route configuration>/<virtual host>``.
    """
    if "vhds" not in route_configuration:
        return route_configuration
    prefix = f"{route_configuration.get('name', '')}/"
    hosts = [
        {**host, "name": str(host.get("name", "")).removeprefix(prefix).replace("%2F", "/")}
        for host in route_configuration.get("virtual_hosts", ())
    ]
    return {**route_configuration, "virtual_hosts": hosts}
