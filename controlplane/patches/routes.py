"""Patches of route configurations, their virtual hosts and routes, in the order in which they take effect.

First the configuration itself, then the virtual hosts that are there, then their routes; routes are added after those
that are there have been changed, and virtual hosts that are added come last and are not looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.apis.envoy_filter import (
    ApplyTo,
    PatchOperation,
    RouteAction,
    RouteConfigurationMatch,
    RouteMatch,
    VirtualHostMatch,
)
from controlplane.patches.filters import insert, keep
from controlplane.patches.merge import merge
from controlplane.patches.patch import Draft, Patch, Step

_INBOUND = "inbound|"
_GATEWAY_PARTS = 5  # https, port, port's name, Gateway, its namespace
_ACTIONS = {
    RouteAction.ROUTE: "route",
    RouteAction.REDIRECT: "redirect",
    RouteAction.DIRECT_RESPONSE: "direct_response",
}


@dataclass(frozen=True, slots=True)
class RouteName:
    """What the name of a route configuration says: port (0: none) and, at a gateway, what of a Gateway it is for."""

    name: str
    ports: frozenset[int]
    port_name: str = ""
    gateway: str = ""
    of_gateway: bool = False


def sidecar_route_name(name: str) -> RouteName:
    """Read the name of a sidecar's route configuration: a port, or an inbound cluster."""
    text = name.split("|")[1] if name.startswith(_INBOUND) else name
    port = int(text) if text.isascii() and text.isdigit() else 0
    return RouteName(name, frozenset({port}))


@dataclass(frozen=True, slots=True)
class PortMap:
    """The ports of Gateway servers by the port that the proxy listens on for them."""

    servers: Mapping[int, frozenset[int]] = field(default_factory=dict)


def gateway_route_name(name: str, ports: PortMap) -> RouteName:
    """Read the name of a gateway's route configuration; patches name its port as the Gateway does."""
    parts = name.split(".")
    port = int(parts[1]) if len(parts) > 1 and parts[1].isascii() and parts[1].isdigit() else 0
    served = ports.servers.get(port) or frozenset({port})
    if len(parts) < _GATEWAY_PARTS:
        return RouteName(name, served, of_gateway=True)
    return RouteName(name, served, parts[2], f"{parts[4]}/{parts[3]}", of_gateway=True)


def matches_configuration(match: RouteConfigurationMatch | None, held: RouteName) -> bool:
    """Whether a patch is for something of the route configuration of this name."""
    if match is None:
        return True
    if match.name not in ("", held.name) or (match.port_number and match.port_number not in held.ports):
        return False
    if not held.of_gateway:
        return True
    return match.port_name in ("", held.port_name) and match.gateway in ("", held.gateway)


def route_steps(patches: Sequence[Patch], name: RouteName) -> tuple[Step, ...]:
    """Return what the patches do to the route configuration of this name, in order; those of others do nothing."""
    meant = [
        (position, patch)
        for position, patch in enumerate(patches)
        if matches_configuration(patch.match.route_configuration, name)
    ]
    return tuple(
        Step(position, _bound(run, patch))
        for apply_to, adds, run in _PHASES
        for position, patch in meant
        if patch.apply_to is apply_to and adds == _adds(patch)
    )


def _bound(run: Callable[[Any, Patch, Draft], bool], patch: Patch) -> Callable[[Draft], bool]:
    return lambda draft: run(draft.message, patch, draft)


def _adds(patch: Patch) -> bool:
    """Whether it brings something new, rather than change what is there."""
    return not patch.merges and patch.operation not in {PatchOperation.REMOVE, PatchOperation.REPLACE}


def _configuration(configuration: Any, patch: Patch, _draft: Draft) -> bool:  # noqa: ANN401 - a generated message, here and below
    return patch.merges and merge(configuration, patch.value, replace_lists=patch.replaces_lists)


def _virtual_host(configuration: Any, patch: Patch, draft: Draft) -> bool:  # noqa: ANN401
    found = list(_hosts(configuration, patch))
    if patch.operation is PatchOperation.REMOVE:
        names = frozenset(host.name for host in found)
        draft.removed |= names
        return keep(configuration.virtual_hosts, lambda host: host.name not in names)
    changes = False
    for host in found:
        if patch.merges:
            changes = merge(host, patch.value, replace_lists=patch.replaces_lists) or changes
        elif host != patch.value:
            host.CopyFrom(patch.value)
            changes = True
    return changes


def _added_host(configuration: Any, patch: Patch, draft: Draft) -> bool:  # noqa: ANN401
    value: Any = patch.value
    if value.name in draft.removed:
        return False
    configuration.virtual_hosts.append(value)
    return True


def _route(configuration: Any, patch: Patch, _draft: Draft) -> bool:  # noqa: ANN401
    wanted = _wanted_route(patch)
    changes = False
    for host in _hosts(configuration, patch):
        if patch.operation is PatchOperation.REMOVE:
            changes = keep(host.routes, lambda route: not _matches_route(wanted, route)) or changes
        elif patch.merges:
            for route in host.routes:
                if _matches_route(wanted, route):
                    changes = merge(route, patch.value, replace_lists=patch.replaces_lists) or changes
    return changes


def _added_route(configuration: Any, patch: Patch, _draft: Draft) -> bool:  # noqa: ANN401
    wanted = _wanted_route(patch)
    changes = False
    for host in _hosts(configuration, patch):
        place = _place(host.routes, patch.operation, wanted)
        if place is not None:
            insert(host.routes, place, patch.value)
            changes = True
    return changes


def _place(routes: Sequence[Any], operation: PatchOperation, wanted: RouteMatch | None) -> int | None:
    if operation is PatchOperation.ADD:
        return len(routes)
    if wanted is None:
        return len(routes) if operation is PatchOperation.INSERT_AFTER else 0
    found = next((index for index, route in enumerate(routes) if _matches_route(wanted, route)), None)
    if found is None:
        return None
    match operation:
        case PatchOperation.INSERT_AFTER:
            return found + 1
        case PatchOperation.INSERT_BEFORE:
            return found
        case _:
            return 0


def _wanted_host(patch: Patch) -> VirtualHostMatch | None:
    match = patch.match.route_configuration
    return match.vhost if match is not None else None


def _wanted_route(patch: Patch) -> RouteMatch | None:
    host = _wanted_host(patch)
    return host.route if host is not None else None


def _hosts(configuration: Any, patch: Patch) -> Iterator[Any]:  # noqa: ANN401
    wanted = _wanted_host(patch)
    for host in configuration.virtual_hosts:
        if wanted is None or (
            wanted.name in ("", host.name) and (not wanted.domain_name or wanted.domain_name in host.domains)
        ):
            yield host


def _matches_route(wanted: RouteMatch | None, route: Any) -> bool:  # noqa: ANN401
    if wanted is None:
        return True
    if wanted.name not in ("", route.name):
        return False
    action = route.WhichOneof("action")
    return wanted.action is RouteAction.ANY or action not in _ACTIONS.values() or action == _ACTIONS[wanted.action]


_PHASES: Sequence[tuple[ApplyTo, bool, Callable[[Any, Patch, Draft], bool]]] = (
    (ApplyTo.ROUTE_CONFIGURATION, False, _configuration),
    (ApplyTo.VIRTUAL_HOST, False, _virtual_host),
    (ApplyTo.HTTP_ROUTE, False, _route),
    (ApplyTo.HTTP_ROUTE, True, _added_route),
    (ApplyTo.VIRTUAL_HOST, True, _added_host),
)
