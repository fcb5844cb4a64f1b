"""Route configurations with the patches that are for them."""

from __future__ import annotations

from typing import Any, NamedTuple

from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from controlplane.constraints.checker import Fault, Faults, faults
from controlplane.engine.recording import Query
from controlplane.model.patches import PatchRefs
from controlplane.patches.routes import (
    PortMap,
    RouteName,
    gateway_route_name,
    matches_configuration,
    route_steps,
    sidecar_route_name,
)
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.patched.built import Built, built
from controlplane.translate.patched.net import patched
from controlplane.translate.patched.reading import aim, held
from controlplane.translate.patched.references import route_clusters

__all__ = ["PatchedRoutes", "PortMap", "gateway_route_name", "meant_for", "patched_routes", "sidecar_route_name"]


class PatchedRoutes(NamedTuple):
    """A route configuration as it is built, what its name says, and the patches for it."""

    routes: Built
    name: RouteName
    refs: PatchRefs


def meant_for(view: View, refs: PatchRefs, name: RouteName) -> PatchRefs:
    """Return the patches that are for something of the route configuration of this name."""
    return tuple(
        ref
        for ref in refs
        if (found := aim(view, ref)) is not None and matches_configuration(found.match.route_configuration, name)
    )


def _patched_routes(view: View, key: PatchedRoutes) -> Resource | None:
    resource = built(view, key.routes)
    if resource is None:
        return None
    configuration = RouteConfiguration.FromString(resource.body)
    if not configuration.virtual_hosts:
        return resource  # an answer to a name that means nothing
    patches = held(view, key.refs)

    def check(message: Message) -> Faults:
        return _faults(message, configuration)

    draft = patched(view, patches, configuration, route_steps([each.patch for each in patches], key.name), check)
    if draft.message == configuration:
        return resource
    changed: Any = draft.message
    body = changed.SerializeToString(deterministic=True)
    clusters = resource.named(ResourceType.CLUSTER).union(route_clusters(changed))
    return Resource.of(ResourceType.ROUTE, resource.name, body, {ResourceType.CLUSTER: clusters})


def _faults(changed: Any, before: Any) -> Faults:  # noqa: ANN401 - generated messages
    """Check what is other than before: a virtual host that is the same is looked at by its name and domains alone."""
    if changed.name != before.name:
        return [Fault("name", "a route configuration keeps its name: proxies ask for it by that")]
    same = {host.name: host for host in before.virtual_hosts}
    reduced = RouteConfiguration()
    reduced.CopyFrom(changed)
    del reduced.virtual_hosts[:]
    for host in changed.virtual_hosts:
        if same.get(host.name) == host:
            reduced.virtual_hosts.add(name=host.name, domains=host.domains)
        else:
            reduced.virtual_hosts.append(host)
    return faults(reduced)


patched_routes: Query[PatchedRoutes, Resource | None] = Query(_patched_routes, isolated=True)
"""One route configuration with its patches."""
patched_routes.name = "patched_routes"
