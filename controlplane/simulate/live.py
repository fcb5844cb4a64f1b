"""What an Envoy says that it holds, as a snapshot: an explanation can be made of that, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.patches.messages import message_of
from controlplane.snapshots import Resource, ResourceType, Snapshot

_LISTS: Mapping[str, tuple[ResourceType, Any, str]] = {
    "listeners": (ResourceType.LISTENER, Listener, "name"),
    "routes": (ResourceType.ROUTE, RouteConfiguration, "name"),
    "clusters": (ResourceType.CLUSTER, Cluster, "name"),
    "endpoints": (ResourceType.ENDPOINT, ClusterLoadAssignment, "cluster_name"),
}


class UnreadableResourceError(Exception):
    """A resource of Envoy's dump is not known here; ``str()`` names it and says why."""


def held_by_envoy(held: object) -> Snapshot:
    """Return the resources that Envoy's dump has, given as lists of JSON: listeners, routes, clusters and endpoints.

    Raises:
        UnreadableResourceError: one of them is no such message, or has an extension that is not known here.
    """
    if not isinstance(held, Mapping):
        raise UnreadableResourceError("what Envoy holds is no object of listeners, routes, clusters and endpoints")
    resources: dict[ResourceType, dict[str, Resource]] = {}
    for field, (type_, message, named) in _LISTS.items():
        found = resources.setdefault(type_, {})
        listed = held.get(field, ())
        for value in listed if isinstance(listed, list) else ():
            name = str(value.get(named, "")) if isinstance(value, dict) else ""
            if not name:  # routes that are written in a listener are in that, and nothing else refers to them
                continue
            try:
                body = message_of(message, value).message.SerializeToString(deterministic=True)
            except ValueError as error:
                raise UnreadableResourceError(f"{name}, of Envoy's {field}, cannot be read: {error}") from error
            found[name] = Resource.of(type_, name, body)
    return Snapshot(0, resources)
