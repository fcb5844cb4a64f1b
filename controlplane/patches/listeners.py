"""Patches of listeners, of their filter chains and filters, in the order in which they take effect.

First the listener itself, then its listener filters, then its chains, their network filters, the filters of their HTTP
connection managers, at last chains that are added. A filter is merged into after all others are in their places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from controlplane.apis.envoy_filter import ApplyTo, FilterMatch, ListenerMatch, PatchOperation
from controlplane.patches.filters import apply_filters, keep, merge_filter
from controlplane.patches.merge import merge, merge_socket, unpacked
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


def _run(run: Callable[[Draft, Patch], None], patch: Patch, draft: Draft) -> None:
    if not draft.gone:
        run(draft, patch)


def matches_listener(patch: Patch, listener: Any) -> bool:  # noqa: ANN401 - a generated message, here and below
    """Whether a patch is for something of this listener, as far as name and port of it tell."""
    match = patch.match.listener or _ANYTHING
    if match.name not in ("", listener.name):
        return False
    if not match.port_number or (listener.name in VIRTUAL and patch.apply_to is not ApplyTo.LISTENER):
        return True
    held: int = listener.address.socket_address.port_value
    return match.port_number == held


def _listener(draft: Draft, patch: Patch) -> None:
    if not matches_listener(patch, draft.message):
        return
    if patch.operation is PatchOperation.REMOVE:
        draft.gone = True
    elif patch.merges:
        merge(draft.message, patch.value, replace_lists=patch.replaces_lists)


def _listener_filter(draft: Draft, patch: Patch) -> None:
    listener: Any = draft.message
    if not matches_listener(patch, listener):
        return
    name = (patch.match.listener.listener_filter if patch.match.listener is not None else "") or None
    if patch.operation is PatchOperation.MERGE:
        for each in listener.listener_filters:
            if name is not None and each.name == name:
                merge_filter(each, patch.value, renames=False)
        return
    apply_filters(listener.listener_filters, patch, name)


def _filter_chain(draft: Draft, patch: Patch) -> None:
    listener: Any = draft.message
    if not matches_listener(patch, listener):
        return
    if patch.operation is PatchOperation.REMOVE:
        keep(listener.filter_chains, lambda chain: not _matches_chain(patch, listener, chain))
        if listener.HasField("default_filter_chain") and _matches_chain(patch, listener, listener.default_filter_chain):
            listener.ClearField("default_filter_chain")
    elif patch.merges:
        for chain in _chains(patch, listener):
            _merge_chain(chain, patch)


def _merge_chain(chain: Any, patch: Patch) -> None:  # noqa: ANN401
    value: Any = patch.value
    if value.HasField("transport_socket") and chain.transport_socket.name == value.transport_socket.name:
        merge_socket(chain.transport_socket, value.transport_socket)
    else:
        merge(chain, value, replace_lists=patch.replaces_lists)


def _added_chain(draft: Draft, patch: Patch) -> None:
    listener: Any = draft.message
    if matches_listener(patch, listener):
        listener.filter_chains.append(patch.value)


def _network_filter(draft: Draft, patch: Patch) -> None:
    listener: Any = draft.message
    if not matches_listener(patch, listener):
        return
    named = _named(patch)
    for chain in _chains(patch, listener):
        apply_filters(chain.filters, patch, named.name if named is not None else None)


def _http_filter(draft: Draft, patch: Patch) -> None:
    listener: Any = draft.message
    if not matches_listener(patch, listener):
        return
    named = _named(patch)
    if named is not None and named.name != HCM:
        return
    name = named.sub_filter.name if named is not None and named.sub_filter is not None else None
    for chain in _chains(patch, listener):
        for each in chain.filters:
            if each.name == HCM and each.HasField("typed_config"):
                manager: Any = unpacked(each.typed_config)
                apply_filters(manager.http_filters, patch, name)
                each.typed_config.value = manager.SerializeToString(deterministic=True)


def _named(patch: Patch) -> FilterMatch | None:
    """Return the network filter that a patch names."""
    chain = patch.match.listener.filter_chain if patch.match.listener is not None else None
    return chain.filter if chain is not None else None


def _chains(patch: Patch, listener: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the chains that a patch is for."""
    held = list(listener.filter_chains)
    if listener.HasField("default_filter_chain"):
        held.append(listener.default_filter_chain)
    return (chain for chain in held if _matches_chain(patch, listener, chain))


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


_PHASES: Sequence[tuple[ApplyTo, Callable[[Patch], bool], Callable[[Draft, Patch], None]]] = (
    (ApplyTo.LISTENER, _stays, _listener),
    (ApplyTo.LISTENER_FILTER, _any, _listener_filter),
    (ApplyTo.FILTER_CHAIN, _stays, _filter_chain),
    (ApplyTo.NETWORK_FILTER, _places, _network_filter),
    (ApplyTo.NETWORK_FILTER, _merges, _network_filter),
    (ApplyTo.HTTP_FILTER, _places, _http_filter),
    (ApplyTo.HTTP_FILTER, _merges, _http_filter),
    (ApplyTo.FILTER_CHAIN, _adds, _added_chain),
)
