"""What a proxy is told that asks for something which does not exist: it waits for an answer, so an empty one."""

from __future__ import annotations

from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2

from controlplane.snapshots import Resource, ResourceType


def empty_resource(type_: ResourceType, name: str, *, router: bool) -> Resource | None:
    """Return an empty load assignment or route configuration; ``None`` where absence is the answer.

    A gateway is told that an unknown route configuration does not exist; a sidecar gets one without virtual hosts.
    """
    if type_ is ResourceType.ENDPOINT:
        assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
        return Resource.of(type_, name, assignment.SerializeToString(deterministic=True))
    if type_ is ResourceType.ROUTE and not router:
        configuration = route_pb2.RouteConfiguration(name=name)
        configuration.validate_clusters.value = False
        return Resource.of(type_, name, configuration.SerializeToString(deterministic=True))
    return None
