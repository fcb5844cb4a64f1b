"""What the cluster says of an object's status: the one condition that is ours, and what is needed to write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from controlplane.model.objects import ObjectKey

RECONCILED = "Reconciled"
_LONGEST_NUMBER = 20
"""The type of our condition. Source: ``status.conditions[].type`` of Istio's kinds."""


class Condition(NamedTuple):
    """What a condition says, without its times: ``status`` is ``True`` or ``False``, ``reason`` one word."""

    status: str
    reason: str
    message: str
    observed_generation: int


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in an object's status.

    ``exists`` and ``listed`` say whether there is a status, and a list of conditions in it. ``position`` is that of
    our condition in the list, -1 where it is not there; ``condition`` is what it says, ``since`` the time of its last
    change of status. ``observed_generation`` is that of the status itself, -1 where there is none.
    ``allocated`` are the automatic addresses of a ServiceEntry (host name, address), ``balancer`` those at which an
    Ingress is reached (host name, IP address; one of both is empty).
    """

    exists: bool = False
    listed: bool = False
    position: int = -1
    condition: Condition | None = None
    since: str = ""
    observed_generation: int = -1
    allocated: tuple[tuple[str, str], ...] = ()
    balancer: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """The newest version of one object as the cluster has it.

    ``version`` is the API version in which it is read (``v1``). ``problems`` are why it cannot be used, none where it
    can; ``warnings`` what is odd in it. All are ``path: reason``. ``uid`` tells it from a former one of its name.
    """

    key: ObjectKey
    version: str
    resource_version: str
    generation: int
    written: Written
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    uid: str = ""


def written(status: object) -> Written:
    """Read a raw ``status``; what does not fit counts as not there, so it is written anew."""
    if not isinstance(status, Mapping):
        return Written()
    found = Written(
        exists=True,
        observed_generation=_generation(status.get("observedGeneration")),
        allocated=allocated(status),
        balancer=_balancer(status),
    )
    conditions = status.get("conditions")
    if not isinstance(conditions, list):
        return found
    for position, each in enumerate(conditions):
        if isinstance(each, Mapping) and each.get("type") == RECONCILED:
            said = Condition(
                _text(each.get("status")),
                _text(each.get("reason")),
                _text(each.get("message")),
                _generation(each.get("observedGeneration")),
            )
            since = _text(each.get("lastTransitionTime"))
            return replace(found, listed=True, position=position, condition=said, since=since)
    return replace(found, listed=True)


def allocated(status: object) -> tuple[tuple[str, str], ...]:
    """Return ``status.addresses`` as (host, address); a controller writes it, so what does not fit is passed over."""
    entries = status.get("addresses") if isinstance(status, Mapping) else None
    return tuple(
        (entry["host"], entry["value"])
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("host"), str) and isinstance(entry.get("value"), str)
    )


def _balancer(status: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return ``status.loadBalancer.ingress``."""
    balancer = status.get("loadBalancer")
    entries = balancer.get("ingress") if isinstance(balancer, Mapping) else None
    return tuple(
        (_text(entry.get("hostname")), _text(entry.get("ip")))
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping)
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _generation(value: object) -> int:
    """Return a generation, which Istio's definitions allow as a number and as text; -1 for neither."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= _LONGEST_NUMBER:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
