"""Parts of an inventory with the patches of EnvoyFilters: only what a patch may be for is built another time.

Each target that no patch names stays the target that it is without patches, shared with all who have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane.apis.envoy_filter import ApplyTo, PatchOperation
from controlplane.compiler.targets import Inventory, Part, Target
from controlplane.engine.recording import Query, query
from controlplane.model.cluster_names import INBOUND_PASSTHROUGH
from controlplane.model.left_out import LeftOut
from controlplane.model.objects import ObjectKey
from controlplane.model.patches import PatchNote, PatchRef, PatchRefs, ProxyPatches
from controlplane.model.proxy_class import ClientScope
from controlplane.registry.gateways import GatewayKey, merged_gateway
from controlplane.registry.scopes import EgressKey
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.clusters.inbound import InboundKey
from controlplane.translate.patched import clusters, listeners, routes
from controlplane.translate.patched.built import Built
from controlplane.translate.patched.collectors import Caller
from controlplane.translate.patched.extensions import extension_config, fetching_config
from controlplane.translate.patched.reading import aim


class PatchedPart(NamedTuple):
    """A part, and the patches for what is in it; ``inbound`` are those for its inbound clusters or inline routes.

    ``caller`` is set for listeners: whose they are.
    """

    part: Part
    refs: PatchRefs
    inbound: PatchRefs = ()
    gateway: GatewayKey | None = None
    caller: Caller | None = None


class AddedPart(NamedTuple):
    """The patches of which some may add something; ``inbound`` are those of them that name the inbound side.

    ``beside`` are the parts with what is there already: of listeners there is one of a name, and one at a place.
    ``fetches`` is set for settings of filters, and proxies with an agent that fetches modules.
    """

    refs: PatchRefs
    inbound: PatchRefs = ()
    beside: tuple[Part, ...] = ()
    fetches: bool = False


def patched_clusters_part(part: Part, patches: ProxyPatches) -> Part:
    """Return a part of clusters with the patches for them."""
    if not patches.clusters and not patches.inbound_clusters:
        return part
    return Part(part.type, patched_clusters, PatchedPart(part, patches.clusters, patches.inbound_clusters))


def patched_listeners_part(part: Part, client: ClientScope, refs: PatchRefs, inline: PatchRefs = ()) -> Part:
    """Return a part of a client's listeners with the patches for them, and for the routes that stand in them."""
    if not refs and not inline:
        return part
    caller = Caller(EgressKey(client.namespace, client.sidecar), client.router)
    return Part(part.type, patched_listeners, PatchedPart(part, refs, inline, caller=caller))


def patched_routes_part(part: Part, refs: PatchRefs, gateway: GatewayKey | None = None) -> Part:
    """Return a part of route configurations with the patches for them; ``gateway`` is set for those of a gateway."""
    return Part(part.type, patched_routes, PatchedPart(part, refs, gateway=gateway)) if refs else part


def added_parts(patches: ProxyPatches, beside: tuple[Part, ...], *, fetches: bool) -> Iterator[Part]:
    """Yield the parts that patches may add, ``beside`` listeners. Of two clusters of one name the first counts."""
    if patches.clusters or patches.inbound_clusters:
        yield Part(ResourceType.CLUSTER, added_clusters, AddedPart(patches.clusters, patches.inbound_clusters))
    if patches.listeners or patches.inbound_listeners:
        yield Part(
            ResourceType.LISTENER, added_listeners, AddedPart(patches.listeners, patches.inbound_listeners, beside)
        )
    if patches.extensions:
        yield Part(ResourceType.EXTENSION, extension_configs, AddedPart(patches.extensions, fetches=fetches))


@query
def patched_clusters(view: View, key: PatchedPart) -> Inventory:
    """Return the clusters of a part, those that patches are for with them, by the names that they have then."""
    found: dict[str, Target] = {}
    held: Inventory = key.part.query(view, key.part.key)
    _note(view, key)
    for name, target in held.targets.items():
        inbound = isinstance(target.key, InboundKey) or name == INBOUND_PASSTHROUGH
        refs = clusters.meant_for(view, key.inbound if inbound else key.refs, name, _hosts(target))
        if not refs:
            found[name] = target
            continue
        patched = Target(clusters.patched_cluster, clusters.PatchedCluster(Built(*target), refs))
        called = _called(view, patched, name) if clusters.renames(view, refs) else name
        found.setdefault(called, patched)
    return held._replace(targets=found)


def _called(view: View, target: Target, name: str) -> str:
    """Return what a cluster is called once it is patched; the patch that renames it may have been left out."""
    outcome = target.query.outcome(view, target.key)
    return outcome.value.name if outcome.built and outcome.value is not None else name


def _hosts(target: Target) -> frozenset[str]:
    """Return the hosts of the services that an inbound cluster is for."""
    if not isinstance(target.key, InboundKey):
        return frozenset()
    held = target.key.scope.targets
    return frozenset(each.service.hostname for each in held if each.target_port == target.key.port)


@query
def patched_listeners(view: View, key: PatchedPart) -> Inventory:
    """Return the listeners of a part, those that patches may be for with them."""
    found: dict[str, Target] = {}
    held: Inventory = key.part.query(view, key.part.key)
    _note(view, key)
    places = Counter(map(_place, held.targets.values()))
    for name, target in held.targets.items():
        refs = listeners.may_concern(view, key.refs, name, getattr(target.key, "port", None))
        if refs or key.inbound:
            taken = frozenset[listeners.Place]()
            if (moved := listeners.moved(view, refs, place := _place(target))) != place:
                places[place] -= 1
                taken = listeners.reachable(view, refs, place, places)
                places[moved] += 1  # one that is moved there too comes too late
            patched = listeners.PatchedListener(Built(*target), refs, key.inbound, taken, key.caller)
            found[name] = Target(listeners.patched_listener, patched)
        else:
            found[name] = target
    return held._replace(targets=found)


def _place(target: Target) -> listeners.Place:
    """Return where a listener is before it is patched, as far as its key says it."""
    return (getattr(target.key, "bind", ""), getattr(target.key, "port", 0))


@query
def patched_routes(view: View, key: PatchedPart) -> Inventory:
    """Return the route configurations of a part, those that patches are for with them."""
    ports = gateway_ports(view, key.gateway) if key.gateway is not None else None
    found: dict[str, Target] = {}
    held: Inventory = key.part.query(view, key.part.key)
    _note(view, key)
    for name, target in held.targets.items():
        said = routes.sidecar_route_name(name) if ports is None else routes.gateway_route_name(name, ports)
        refs = routes.meant_for(view, key.refs, said)
        patched = routes.PatchedRoutes(Built(*target), said, refs)
        found[name] = Target(routes.patched_routes, patched) if refs else target
    return held._replace(targets=found)


@query
def gateway_ports(view: View, gateway: GatewayKey) -> routes.PortMap:
    """Return the ports of the servers of a gateway by the port that the proxy listens on for them."""
    found: dict[int, set[int]] = {}
    for held in merged_gateway(view, gateway).servers.values():
        for server in held:
            found.setdefault(server.port, set()).add(server.server.port.number)
    return routes.PortMap({port: frozenset(numbers) for port, numbers in found.items()})


@query
def added_clusters(view: View, key: AddedPart) -> Inventory:
    """Return the clusters that patches add."""
    return _added(view, key, ApplyTo.CLUSTER, clusters.added_cluster)


@query
def added_listeners(view: View, key: AddedPart) -> Inventory:
    """Return the listeners that patches add; one whose name or place another one has is left out, and noted."""
    found = _added(view, key, ApplyTo.LISTENER, listeners.added_listener)
    if not found.targets:
        return found
    names: set[str] = set()
    places: set[listeners.Place] = set()
    for part in key.beside:
        held: Inventory = part.query(view, part.key)
        names.update(held.targets)
        places.update(place for target in held.targets.values() for place in places_of_listener(view, target))
    kept: dict[str, Target] = {}
    for name, target in found.targets.items():
        here = places_of_listener(view, target)
        if name in names or places.intersection(here):
            reason = f"there is a listener {name}, or one at its address, already"
            element = f"{target.key.path} (LISTENER ADD)"  # type: ignore[attr-defined]  # a patch's reference
            view.note(LeftOut(element, reason, (target.key.filter,)))  # type: ignore[attr-defined]
            continue
        places.update(here)
        kept[name] = target
    return found._replace(targets=kept)


@query
def places_of_listener(view: View, target: Target) -> tuple[listeners.Place, ...]:
    """Return where a listener is; nowhere if it cannot be built, or is not."""
    outcome = target.query.outcome(view, target.key)
    return listeners.places_of(outcome.value) if outcome.built and outcome.value is not None else ()


@query
def extension_configs(view: View, key: AddedPart) -> Inventory:
    """Return the settings of filters that patches give, to be fetched by themselves."""
    made = fetching_config if key.fetches else extension_config
    return _added(view, key, ApplyTo.EXTENSION_CONFIG, made)


def _added(view: View, key: AddedPart, apply_to: ApplyTo, made: Query[PatchRef, Resource | None]) -> Inventory:
    """Return what patches add, by name; without a context it counts on the outbound side alone."""
    found: dict[str, Target] = {}
    _note(view, key)
    for ref, inbound in [*((ref, False) for ref in key.refs), *((ref, True) for ref in key.inbound)]:
        stated = aim(view, ref)
        if stated is None or stated.apply_to is not apply_to or stated.operation is not PatchOperation.ADD:
            continue
        if not inbound or stated.names_context:
            found.setdefault(stated.name, Target(made, ref))
    return Inventory(found)


def _note(view: View, key: PatchedPart | AddedPart) -> None:
    """Note which patches are for some proxy; what they change there is noted where it is changed."""
    for ref in dict.fromkeys((*key.refs, *key.inbound)):
        view.note(PatchNote(ref, changes=False))


def behind_patches(target: Target) -> tuple[Target | None, Iterable[ObjectKey]]:
    """Return what a target is without patches, and the EnvoyFilters of those that it has."""
    match target.key:
        case clusters.PatchedCluster(cluster, refs):
            return Target(*cluster), [ref.filter for ref in refs]
        case listeners.PatchedListener(listener, refs, inline):
            return Target(*listener), [ref.filter for ref in (*refs, *inline)]
        case routes.PatchedRoutes(held, _, refs):
            return Target(*held), [ref.filter for ref in refs]
        case _:
            return None, ()
