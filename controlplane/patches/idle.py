"""Patches that can change nothing, whatever they meet: operations that do not go with what they are applied to."""

from __future__ import annotations

from controlplane.apis.envoy_filter import ApplyTo, EnvoyConfigObjectPatch, FilterMatch, PatchContext, PatchOperation

_FILTERS = frozenset({ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER, ApplyTo.LISTENER_FILTER})
_UNREPLACED = frozenset({ApplyTo.CLUSTER, ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN, ApplyTo.HTTP_ROUTE})
_MERGES = frozenset({PatchOperation.MERGE, PatchOperation.MERGE_AND_REPLACE_LIST})
_INSERTS = frozenset({PatchOperation.INSERT_BEFORE, PatchOperation.INSERT_AFTER, PatchOperation.INSERT_FIRST})


def idle_reason(each: EnvoyConfigObjectPatch) -> str:
    """Return why a patch changes nothing anywhere, empty where it may change something.

    Reference: Istio's ``pilot/pkg/networking/core/envoyfilter``, whose steps pass over these.
    """
    operation = each.patch.operation if each.patch is not None else PatchOperation.INVALID
    if each.apply_to is ApplyTo.BOOTSTRAP:
        return "a proxy starts with its bootstrap, which no control plane sends"
    if each.match is not None and each.match.context is PatchContext.WAYPOINT:
        return "nothing has the context WAYPOINT"
    if each.apply_to is ApplyTo.EXTENSION_CONFIG and operation not in {PatchOperation.ADD, *_INSERTS}:
        return f"{operation} does nothing to an EXTENSION_CONFIG, ADD alone does something"
    if each.apply_to is ApplyTo.ROUTE_CONFIGURATION and operation not in _MERGES:
        return f"{operation} does nothing to a ROUTE_CONFIGURATION, which can be merged into alone"
    if each.apply_to in _UNREPLACED and operation is PatchOperation.REPLACE:
        return f"REPLACE does nothing to a {each.apply_to}"
    return _of_filter(each, operation) if each.apply_to in _FILTERS else ""


def _of_filter(each: EnvoyConfigObjectPatch, operation: PatchOperation) -> str:
    if operation is PatchOperation.MERGE_AND_REPLACE_LIST:
        return f"MERGE_AND_REPLACE_LIST does nothing to a {each.apply_to}"
    unnamed = {PatchOperation.REMOVE, PatchOperation.REPLACE}
    if each.apply_to is ApplyTo.LISTENER_FILTER:
        unnamed.add(PatchOperation.MERGE)
    if operation in unnamed and not _names_filter(each):
        return f"{operation} of a {each.apply_to} is for one that its match names, and this match names none"
    return ""


def _names_filter(each: EnvoyConfigObjectPatch) -> bool:
    listener = each.match.listener if each.match is not None else None
    if listener is None:
        return False
    if each.apply_to is ApplyTo.LISTENER_FILTER:
        return bool(listener.listener_filter)
    named: FilterMatch | None = listener.filter_chain.filter if listener.filter_chain is not None else None
    if each.apply_to is ApplyTo.NETWORK_FILTER or named is None:
        return named is not None
    return named.sub_filter is not None
