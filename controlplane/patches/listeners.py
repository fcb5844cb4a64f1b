"""Patches of listeners, of their filter chains and filters, in the order in which they take effect.

First the listener itself, then its listener filters, then its chains, their network filters, the filters of their HTTP
connection managers, at last chains that are added. A filter is merged into after all others are in their places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from controlplane.apis.envoy_filter import ApplyTo, FilterMatch, ListenerMatch, PatchOperation
from controlplane.patches.filters import apply_filters, keep, merge_filters
from controlplane.patches.merge import merge, merge_socket, require_same_type, unpacked
from controlplane.patches.patch import Draft, Patch, Step

HCM = "envoy.filters.network.http_connection_manager"
VIRTUAL = frozenset({"virtualInbound", "virtualOutbound"})
_ANYTHING = ListenerMatch()


def listener_steps(patches: Sequence[Patch]) -> tuple[Step, ...]:
    """Return what the patches do to one listener that is there, in order; those of other things do nothing."""
    return tuple(
        Step(position, partial(_run, run, patch))
        for apply_to, wanted, run in _PHASES
        for position, patch in enumerate(patches)
        if patch.apply_to is apply_to and wanted(patch)
    )


def _run(run: Callable[[Draft, Patch], bool], patch: Patch, draft: Draft) -> bool:
    if run is not _http_filter:
        draft.close()  # chains and filters may be in other places then
    return matches_listener(patch, draft.message) and run(draft, patch)


def matches_listener(patch: Patch, listener: Any) -> bool:  # noqa: ANN401 - a generated message, here and below
    """Whether a patch is for something of this listener, as far as name and port of it tell."""
    match = patch.match.listener or _ANYTHING
    if match.name not in ("", listener.name):
        return False
    if not match.port_number or (listener.name in VIRTUAL and patch.apply_to is not ApplyTo.LISTENER):
        return True
    held: int = listener.address.socket_address.port_value
    return match.port_number == held


def _listener(draft: Draft, patch: Patch) -> bool:
    if patch.operation is PatchOperation.REMOVE:
        draft.gone = True
        return True
    return patch.merges and merge(draft.message, patch.value, replace_lists=patch.replaces_lists)


def _listener_filter(draft: Draft, patch: Patch) -> bool:
    listener: Any = draft.message
    name = (patch.match.listener.listener_filter if patch.match.listener is not None else "") or None
    if patch.operation is PatchOperation.MERGE:
        found = (each for each in listener.listener_filters if name is not None and each.name == name)
        return merge_filters(found, patch, renames=False)
    return apply_filters([listener.listener_filters], patch, name)


def _filter_chain(draft: Draft, patch: Patch) -> bool:
    listener: Any = draft.message
    if patch.operation is PatchOperation.REMOVE:
        changes = keep(listener.filter_chains, lambda chain: not _matches_chain(patch, listener, chain))
        if listener.HasField("default_filter_chain") and _matches_chain(patch, listener, listener.default_filter_chain):
            listener.ClearField("default_filter_chain")
            changes = True
        return changes
    if not patch.merges:
        return False
    chains = [chain for _, chain in _chains(patch, listener)]
    for chain in chains:
        if _merges_socket(chain, patch.value):
            require_same_type(chain.transport_socket.typed_config, _typed_config(patch.value))
    changed = [_merge_chain(chain, patch) for chain in chains]
    return any(changed)


def _merges_socket(chain: Any, value: Any) -> bool:  # noqa: ANN401
    if not value.HasField("transport_socket") or not value.transport_socket.HasField("typed_config"):
        return False
    same: bool = chain.transport_socket.name == value.transport_socket.name
    return same


def _typed_config(value: Any) -> Any:  # noqa: ANN401
    return value.transport_socket.typed_config


def _merge_chain(chain: Any, patch: Patch) -> bool:  # noqa: ANN401
    value: Any = patch.value
    if value.HasField("transport_socket") and chain.transport_socket.name == value.transport_socket.name:
        return merge_socket(chain.transport_socket, value.transport_socket)
    return merge(chain, value, replace_lists=patch.replaces_lists)


def _added_chain(draft: Draft, patch: Patch) -> bool:
    listener: Any = draft.message
    listener.filter_chains.append(patch.value)
    return True


def _network_filter(draft: Draft, patch: Patch) -> bool:
    named = _named(patch)
    lists = [chain.filters for _, chain in _chains(patch, draft.message)]
    return apply_filters(lists, patch, named.name if named is not None else None)


def _http_filter(draft: Draft, patch: Patch) -> bool:
    named = _named(patch)
    if named is not None and named.name != HCM:
        return False
    name = named.sub_filter.name if named is not None and named.sub_filter is not None else None
    managers = [
        _opened(draft, (number, position), each.typed_config)
        for number, chain in _chains(patch, draft.message)
        for position, each in enumerate(chain.filters)
        if each.name == HCM and each.HasField("typed_config")
    ]
    return apply_filters([manager.http_filters for manager in managers], patch, name)


def _opened(draft: Draft, place: tuple[int, int], packed: Any) -> Any:  # noqa: ANN401
    """Return the HTTP connection manager at a place, unpacked until the draft is closed."""
    if place not in draft.opened:
        draft.opened[place] = unpacked(packed), packed
    return draft.opened[place][0]


def _named(patch: Patch) -> FilterMatch | None:
    """Return the network filter that a patch names."""
    chain = patch.match.listener.filter_chain if patch.match.listener is not None else None
    return chain.filter if chain is not None else None


def _chains(patch: Patch, listener: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
    """Yield the chains that a patch is for, each with its number."""
    held = list(listener.filter_chains)
    if listener.HasField("default_filter_chain"):
        held.append(listener.default_filter_chain)
    return ((number, chain) for number, chain in enumerate(held) if _matches_chain(patch, listener, chain))


def _matches_chain(patch: Patch, listener: Any, chain: Any) -> bool:  # noqa: ANN401
    match = patch.match.listener or _ANYTHING
    held = chain.filter_chain_match
    port = held.destination_port.value
    if match.port_number and listener.name in VIRTUAL and match.port_number != port:
        return False
    wanted = match.filter_chain
    if wanted is None:
        return True
    names = wanted.application_protocols.split(",") if wanted.application_protocols else ()
    return (
        wanted.name in ("", chain.name)
        and (not wanted.sni or wanted.sni in held.server_names)
        and wanted.transport_protocol in ("", held.transport_protocol)
        and all(name in held.application_protocols for name in names)
        and wanted.destination_port in (0, port)
    )


def _stays(patch: Patch) -> bool:
    return patch.operation is not PatchOperation.ADD


def _adds(patch: Patch) -> bool:
    return patch.operation is PatchOperation.ADD


def _places(patch: Patch) -> bool:
    return not patch.merges


def _merges(patch: Patch) -> bool:
    return patch.merges


def _any(_patch: Patch) -> bool:
    return True


_PHASES: Sequence[tuple[ApplyTo, Callable[[Patch], bool], Callable[[Draft, Patch], bool]]] = (
    (ApplyTo.LISTENER, _stays, _listener),
    (ApplyTo.LISTENER_FILTER, _any, _listener_filter),
    (ApplyTo.FILTER_CHAIN, _stays, _filter_chain),
    (ApplyTo.NETWORK_FILTER, _places, _network_filter),
    (ApplyTo.NETWORK_FILTER, _merges, _network_filter),
    (ApplyTo.HTTP_FILTER, _places, _http_filter),
    (ApplyTo.HTTP_FILTER, _merges, _http_filter),
    (ApplyTo.FILTER_CHAIN, _adds, _added_chain),
)
