"""Delegation between VirtualServices: one route of the root and one of the delegate become one route.

Nothing is read here; which delegate a route means is settled by ``virtual_services``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.apis.virtual_service import HTTPMatchRequest, HTTPRoute, StringMatch

#: fields a delegate's route takes from the root's when it states none itself
_INHERITED = (
    "rewrite",
    "direct_response",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirror_percent",
    "mirror_percentage",
    "cors_policy",
    "mirrors",
    "headers",
)
_STRINGS = ("uri", "scheme", "method", "authority")
_STRING_MAPS = ("headers", "without_headers", "query_params")
_FILLED = (*_STRINGS, "port", "source_namespace", "gateways", "stat_prefix")
_UNITED = (*_STRING_MAPS, "source_labels")


def merged_route(root: HTTPRoute, leaf: HTTPRoute) -> HTTPRoute | None:
    """Return the delegate's route under the root's; ``None`` where a match of it contradicts every root match."""
    matches = _merged_matches(root.match, leaf.match)
    if matches is None:
        return None
    update: dict[str, Any] = {"match": matches, "name": _joined(root.name, leaf.name)}
    for field in _INHERITED:
        if _unset(getattr(leaf, field)):
            update[field] = getattr(root, field)
    return leaf.model_copy(update=update)


def _joined(root: str | None, leaf: str | None) -> str | None:
    return f"{root}-{leaf}" if root and leaf else root or leaf


def _unset(value: object) -> bool:
    return value is None or value == ()


def _merged_matches(
    root: tuple[HTTPMatchRequest, ...], leaf: tuple[HTTPMatchRequest, ...]
) -> tuple[HTTPMatchRequest, ...] | None:
    if not root or not leaf:
        return tuple(root or leaf)
    merged: list[HTTPMatchRequest] = []
    for inner in leaf:
        fitting = [_merged_match(outer, inner) for outer in root if not _conflict(outer, inner)]
        if not fitting:
            return None
        merged += fitting
    return tuple(merged)


def _merged_match(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    update: dict[str, Any] = {"name": _joined(root.name, leaf.name)}
    for field in _FILLED:
        update[field] = getattr(leaf, field) or getattr(root, field)
    for field in _UNITED:
        united = {**(getattr(root, field) or {}), **(getattr(leaf, field) or {})}
        update[field] = united or getattr(leaf, field)
    return leaf.model_copy(update=update)


def _conflict(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> bool:
    """Whether no request can be meant by both matches, as far as Istio looks."""
    return (
        any(_strings_conflict(getattr(root, field), getattr(leaf, field)) for field in _STRINGS)
        or any(_maps_conflict(getattr(root, field) or {}, getattr(leaf, field) or {}) for field in _STRING_MAPS)
        or bool(root.ignore_uri_case) != bool(leaf.ignore_uri_case)
        or bool(root.port and leaf.port and root.port != leaf.port)
        or bool(root.source_namespace and root.source_namespace != leaf.source_namespace)
        or _labels_conflict(root.source_labels or {}, leaf.source_labels or {})
        or bool(root.gateways and leaf.gateways and not set(leaf.gateways) <= set(root.gateways))
    )


def _labels_conflict(root: Mapping[str, str], leaf: Mapping[str, str]) -> bool:
    return any(root.get(name, value) != value for name, value in leaf.items())


def _maps_conflict(root: Mapping[str, StringMatch], leaf: Mapping[str, StringMatch]) -> bool:
    return any(_strings_conflict(root[name], leaf[name]) for name in root.keys() & leaf.keys())


def _strings_conflict(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Whether the inner string match reaches outside the outer one; regular expressions cannot be compared."""
    if root is None or leaf is None:
        return False
    if root.regex is not None or leaf.regex is not None:
        return True
    if root.exact is not None:
        return leaf.exact != root.exact
    if root.prefix is not None:
        inner = leaf.prefix if leaf.prefix is not None else leaf.exact
        return inner is None or not inner.startswith(root.prefix)
    return True  # the root asks for presence; Istio finds nothing within that
