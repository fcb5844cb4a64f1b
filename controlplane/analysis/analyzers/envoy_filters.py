"""EnvoyFilters: operations that do nothing, and ones whose result depends on the order of patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import codes, raw
from controlplane.analysis.resources import Message, Resource, Resources, message
from controlplane.model import kinds

_ROUTES = frozenset({"ROUTE_CONFIGURATION", "HTTP_ROUTE"})
_REPLACEABLE = frozenset({"HTTP_FILTER", "NETWORK_FILTER", "VIRTUAL_HOST"})
_INSERTS = frozenset({"INSERT_BEFORE", "INSERT_AFTER"})


def patches(resources: Resources) -> Iterator[Message]:
    """Find such operations; filters are read in the order of their namespaces and names."""
    versioned: set[str] = set()
    for each in resources.of(kinds.ENVOY_FILTER):
        for at, written in raw.mappings(each.spec, "configPatches"):
            if written.get("patch") is None:
                break
            name = _name(written)
            yield from _operation(each, f"spec.configPatches[{at}]", written, has_version=name in versioned)
            if raw.text(written, "match", "proxy", "proxyVersion"):
                versioned.add(name)


def _name(written: Mapping[str, Any]) -> str:
    """Return the name of the filter that a patch gives, or that it looks for."""
    value = raw.mapping(written, "patch", "value")
    if not value:
        return ""
    return raw.text(value, "name") or raw.text(written, "match", "listener", "filterChain", "filter", "name")


def _operation(each: Resource, path: str, written: Mapping[str, Any], *, has_version: bool) -> Iterator[Message]:
    operation, target = raw.text(written, "patch", "operation"), raw.text(written, "applyTo")
    if operation == "ADD" and target in _ROUTES:
        yield message(codes.WRONG_ADD, each, f"{path}.patch.operation")
    elif operation == "REMOVE" and target in _ROUTES:
        yield message(codes.WRONG_REMOVE, each, f"{path}.patch.operation")
    elif operation == "REPLACE" and target not in _REPLACEABLE:
        yield message(codes.WRONG_REPLACE, each, f"{path}.patch.operation")
    elif operation in {"REMOVE", "REPLACE", *_INSERTS} and not raw.at(each.spec, "priority"):
        code = codes.RELATIVE_WITH_VERSION if has_version else codes.RELATIVE_OPERATION
        yield message(code, each, f"{path}.patch.operation")
