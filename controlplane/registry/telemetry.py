"""Which Telemetry objects apply to a proxy, and in which order: a later one overrides an earlier.

First comes the one without selector of the root namespace, then that of the proxy's namespace; of several the oldest
counts. Then come those of the proxy's namespace that select it, by age. So a selector in the root namespace selects
proxies of that namespace alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from controlplane.apis.telemetry import MetricSelector, ModeSelector, Telemetry, TelemetryMode
from controlplane.engine.recording import query
from controlplane.model.objects import Labels, Object, ObjectKey
from controlplane.model.side import Side
from controlplane.registry.mesh import root_namespace
from controlplane.registry.policies import gateway_names, selector, targets
from controlplane.registry.store import View

Chain = tuple[ObjectKey, ...]
"""The Telemetry objects that apply to a proxy, the most general first."""


class Selecting(NamedTuple):
    """A Telemetry that is for proxies with certain labels, all of one of these sets."""

    key: ObjectKey
    labels: tuple[frozenset[tuple[str, str]], ...]


class Levels(NamedTuple):
    """The Telemetry objects that matter in a namespace: for all its proxies, and for some, in their order."""

    wide: Chain
    selecting: tuple[Selecting, ...]


@query
def telemetry_levels(view: View, namespace: str) -> Levels:
    """Return the Telemetry objects that matter in a namespace. Only what they select by is read of them."""
    levels = [_by_age(view, level) for level in dict.fromkeys((root_namespace(view, ()), namespace))]
    wide = (next((obj for obj in level if _is_wide(obj)), None) for level in levels)
    return Levels(
        tuple(obj.key for obj in wide if obj is not None),
        tuple(Selecting(obj.key, _selections(obj)) for obj in levels[-1] if not _is_wide(obj)),
    )


def telemetry_chain(view: View, namespace: str, labels: Labels) -> Chain:
    """Return the Telemetry objects that apply to a proxy with these labels."""
    found, held = telemetry_levels(view, namespace), frozenset(labels.items())
    return (*found.wide, *(each.key for each in found.selecting if any(held >= wanted for wanted in each.labels)))


def telemetry_specs(view: View, chain: Iterable[ObjectKey]) -> tuple[Telemetry, ...]:
    """Return what the objects of a chain say; one that was deleted says nothing any more."""
    return tuple(obj.spec for key in chain if (obj := view.get(key)) is not None)


def is_for(match: ModeSelector | MetricSelector | None, side: Side) -> bool:
    """Whether an entry is for a side: clients are outbound listeners and gateways, servers inbound ones."""
    mode = match.mode if match is not None else TelemetryMode.CLIENT_AND_SERVER
    own = TelemetryMode.SERVER if side is Side.INBOUND else TelemetryMode.CLIENT
    return mode in {own, TelemetryMode.CLIENT_AND_SERVER}


def _by_age(view: View, namespace: str) -> list[Object]:
    held = [obj for key in view.index("telemetries_in", namespace) if (obj := view.get(key)) is not None]
    return sorted(held, key=lambda obj: obj.age_order)


def _is_wide(obj: Object) -> bool:
    return not selector(obj) and not targets(obj.spec)


def _selections(obj: Object) -> tuple[frozenset[tuple[str, str]], ...]:
    """Return the sets of labels that an object asks for; none where it targets what no proxy here can be."""
    if targets(obj.spec):
        return tuple(frozenset({pair}) for pair in gateway_names(obj))
    return (frozenset(selector(obj).items()),)
