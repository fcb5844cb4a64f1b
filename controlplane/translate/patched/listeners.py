"""Listeners with the patches that are for them, and those that patches add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.message import Message

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.constraints.checker import Fault, Faults, faults
from controlplane.engine.recording import Query
from controlplane.model.patches import PatchRef, PatchRefs
from controlplane.patches.listeners import HCM, VIRTUAL, listener_steps
from controlplane.patches.merge import unpacked
from controlplane.patches.patch import MERGES
from controlplane.patches.routes import route_steps, sidecar_route_name
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.patched.added import added_message
from controlplane.translate.patched.built import Built, built
from controlplane.translate.patched.collectors import Caller, unreached_collectors
from controlplane.translate.patched.net import patched
from controlplane.translate.patched.reading import Held, aim, held
from controlplane.translate.patched.references import listener_references

Place = tuple[str, int]
"""The address and port of a listener."""


def place_of(listener: Any) -> Place:  # noqa: ANN401 - a generated message
    """Return where a listener is; a unix socket is at port 0."""
    address = listener.address
    return (address.pipe.path or address.socket_address.address, address.socket_address.port_value)


def places_of(resource: Resource) -> tuple[Place, ...]:
    """Return where a built listener is, its additional addresses too."""
    listener = Listener.FromString(resource.body)
    return (place_of(listener), *(place_of(each) for each in listener.additional_addresses))


def moved(view: View, refs: PatchRefs, place: Place) -> Place:
    """Return where patches move a listener from a place."""
    address, port = place
    for ref in refs:
        found = aim(view, ref)
        if found is not None and found.operation in MERGES:
            address, port = found.moves_to[0] or address, found.moves_to[1] or port
    return address, port


def reachable(view: View, refs: PatchRefs, place: Place, held: Mapping[Place, int]) -> frozenset[Place]:
    """Return those of the places of others that a listener may be moved to, also where some patches are left out.

    ``held`` tells how many listeners are at each place, this one left out.
    """
    stated = [found.moves_to for ref in refs if (found := aim(view, ref)) is not None and found.operation in MERGES]
    addresses = {place[0], *(address for address, _ in stated)}
    ports = {place[1], 0, *(port for _, port in stated)}
    few = len(addresses) * len(ports) < len(held)
    places = product(addresses, ports) if few else (each for each in held if each[0] in addresses and each[1] in ports)
    return frozenset(each for each in places if held.get(each))


class PatchedListener(NamedTuple):
    """A listener as it is built, and the patches for it; ``routes`` are those for routes that stand in it.

    ``taken`` are the places of others that a patch may move it to: Envoy takes one listener at each.
    ``caller`` is whose clusters a tracer may name.
    """

    listener: Built
    refs: PatchRefs
    routes: PatchRefs = ()
    taken: frozenset[Place] = frozenset()
    caller: Caller | None = None


def may_concern(view: View, refs: PatchRefs, name: str, port: int | None) -> PatchRefs:
    """Return the patches that a listener of this name and port may be meant by; ``None`` is a port not known here."""
    found = []
    for ref in refs:
        stated = aim(view, ref)
        match = stated.match.listener if stated is not None else None
        if stated is None or (match is not None and match.name not in ("", name)):
            continue
        if match is not None and match.port_number and port is not None and name not in VIRTUAL:
            if match.port_number == port:
                found.append(ref)
        else:
            found.append(ref)
    return tuple(found)


def _patched_listener(view: View, key: PatchedListener) -> Resource | None:
    resource = built(view, key.listener)
    if resource is None:
        return None
    listener = Listener.FromString(resource.body)
    _patch_routes(view, listener, held(view, key.routes))
    patches = held(view, key.refs)

    def check(message: Message) -> Faults:
        named: Any = message
        if named.name != resource.name:
            return [Fault("name", "a listener keeps its name")]
        if place_of(message) in key.taken:
            return [Fault("address", "another listener is there")]
        return faults(message) or unreached_collectors(view, key.caller, message)

    draft = patched(view, patches, listener, listener_steps([each.patch for each in patches]), check)
    if draft.gone:
        return None
    changed: Any = draft.message
    if changed != listener:
        let_clusters_come(changed)
    body = changed.SerializeToString(deterministic=True)
    if body == resource.body:
        return resource
    return Resource.of(ResourceType.LISTENER, resource.name, body, listener_references(changed, resource.refs))


patched_listener: Query[PatchedListener, Resource | None] = Query(_patched_listener, isolated=True)
"""One listener with its patches; ``None`` where one of them removes it."""
patched_listener.name = "patched_listener"


def _patch_routes(view: View, listener: Any, patches: Sequence[Held]) -> None:  # noqa: ANN401 - a generated message
    """Apply the patches for routes to the route configurations that stand in a listener."""
    for chain in listener.filter_chains if patches else ():
        for each in chain.filters:
            if each.name != HCM or not each.HasField("typed_config"):
                continue
            manager: Any = unpacked(each.typed_config)
            if not manager.HasField("route_config"):
                continue
            steps = route_steps([one.patch for one in patches], sidecar_route_name(manager.route_config.name))
            draft = patched(view, patches, manager.route_config, steps, faults)
            if draft.message != manager.route_config:
                manager.route_config.CopyFrom(draft.message)
                each.typed_config.value = manager.SerializeToString(deterministic=True)


def let_clusters_come(listener: Any) -> None:  # noqa: ANN401 - a generated message
    """Let routes that stand in a listener name clusters that are not there yet; Envoy would refuse it otherwise."""
    for chain in [*listener.filter_chains, *([listener.default_filter_chain] if listener.HasField(_DEFAULT) else [])]:
        for each in chain.filters:
            if not each.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                continue
            manager: Any = unpacked(each.typed_config)
            if manager.HasField("route_config") and not manager.route_config.HasField("validate_clusters"):
                manager.route_config.validate_clusters.value = False
                each.typed_config.value = manager.SerializeToString(deterministic=True)


_DEFAULT = "default_filter_chain"


def _added_listener(view: View, ref: PatchRef) -> Resource | None:
    listener = added_message(view, ref, ApplyTo.LISTENER)
    if listener is None:
        return None
    let_clusters_come(listener)
    body = listener.SerializeToString(deterministic=True)
    return Resource.of(ResourceType.LISTENER, listener.name, body, listener_references(listener, {}))


added_listener: Query[PatchRef, Resource | None] = Query(_added_listener, isolated=True)
"""The listener that a patch adds; ``None`` where Envoy would refuse it."""
added_listener.name = "added_listener"
