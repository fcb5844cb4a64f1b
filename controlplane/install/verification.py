"""Compares a cluster with a plan: what is not there, what differs and what is not ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.install.cluster import Cluster, Ref
from controlplane.install.plan import Component
from controlplane.install.readiness import unready

Json = dict[str, Any]

_MOST = 5
_OF_THE_SERVER = frozenset({"managedFields", "resourceVersion", "generation"})


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of one object; without problems it is as it should be."""

    ref: Ref
    problems: tuple[str, ...] = ()


async def verify(cluster: Cluster, components: Sequence[Component]) -> list[Checked]:
    """Compare every object with the cluster: the server itself says what applying it again would change."""
    found = []
    for component in components:
        for obj in component.objects:
            ref = Ref.of(obj)
            live = await cluster.read(ref)
            if live is None:
                found.append(Checked(ref, ("is not there",)))
            elif obj["kind"] == "Namespace":
                found.append(Checked(ref))
            else:
                would_be = await cluster.apply(obj, dry_run=True)
                reason = unready(live)
                problems = (*differences(live, would_be), *([f"is not ready: {reason}"] if reason else ()))
                found.append(Checked(ref, problems))
    return found


def differences(live: Json, wanted: Json) -> tuple[str, ...]:
    """Return where an object is not what it would be, at most a few places."""
    paths = list(_paths(_comparable(live), _comparable(wanted), ""))
    more = len(paths) - _MOST
    shown = [f"{path} is {_short(one)} instead of {_short(other)}" for path, one, other in paths[:_MOST]]
    return (*shown, *([f"{more} more differences"] if more > 0 else ()))


def _comparable(obj: Mapping[str, Any]) -> Json:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _OF_THE_SERVER}
    return {key: value for key, value in obj.items() if key != "status"} | {"metadata": metadata}


def _paths(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - any values
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _paths(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _paths(left, right, f"{path}[{at}]")
    elif one != other:
        yield path, one, other


def _short(value: object) -> str:
    if value is None:
        return "absent"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - a line's worth
