"""Conditions in the status of objects by which a controller says that something is not as it was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import codes, raw
from controlplane.analysis.resources import Message, Resource, Resources, message
from controlplane.model import kinds
from controlplane.model.kinds import GATEWAY_API, GroupKind

_WAYPOINT = frozenset({"istio.io/WaypointBound"})
_POLICY = frozenset({"ZtunnelAccepted", "WaypointAccepted"})
_ROUTE = frozenset({"Accepted", "Programmed", "ResolvedRefs"})
_TYPES: Mapping[GroupKind, frozenset[str]] = {
    kinds.SERVICE: _WAYPOINT,
    kinds.SERVICE_ENTRY: _WAYPOINT,
    kinds.WORKLOAD_ENTRY: _WAYPOINT,
    kinds.AUTHORIZATION_POLICY: _POLICY,
    GroupKind("Gateway", GATEWAY_API): _ROUTE,
    GroupKind("HTTPRoute", GATEWAY_API): _ROUTE,
    GroupKind("GRPCRoute", GATEWAY_API): _ROUTE,
}
KINDS = tuple(_TYPES)


def negative(resources: Resources) -> Iterator[Message]:
    """Find conditions that are false, and a policy that a waypoint uses in part."""
    for kind, types in _TYPES.items():
        for each in resources.of(kind):
            for path, condition in _conditions(each):
                said = raw.text(condition, "type")
                partly = said == "WaypointAccepted" and raw.text(condition, "reason") == "PartiallyInvalid"
                if said in types and (raw.text(condition, "status") == "False" or partly):
                    yield message(
                        codes.NEGATIVE_CONDITION,
                        each,
                        path,
                        type=said,
                        reason=raw.text(condition, "reason"),
                        message=raw.text(condition, "message"),
                    )


def _conditions(each: Resource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the conditions of an object, and of a route those at its parents."""
    for at, condition in raw.mappings(each.written, "status", "conditions"):
        yield f"status.conditions[{at}]", condition
    for parent, status in raw.mappings(each.written, "status", "parents"):
        for at, condition in raw.mappings(status, "conditions"):
            yield f"status.parents[{parent}].conditions[{at}]", condition
