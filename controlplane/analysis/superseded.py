"""Objects of which a workload uses one alone, and the older ones that select the same workloads: those are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from controlplane.apis.peer_authentication import PeerAuthentication, StrictInstead
from controlplane.apis.sidecar import Sidecar
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Object, ObjectKey
from controlplane.registry.store import View

Selected = frozenset[tuple[str, str]] | None
"""The labels of the selected workloads, all of which they have; ``None`` for an object without a selector."""


class Superseded(NamedTuple):
    """An object that nothing uses, the ``path`` of its selector, and the older one that is used."""

    key: ObjectKey
    path: str
    winner: ObjectKey


def _of_sidecar(spec: Sidecar) -> Selected:
    """One whose selector has no labels comes before one without a selector, so they are not the same."""
    return frozenset(spec.workload_selector.labels.items()) if spec.workload_selector is not None else None


def _of_peer_authentication(spec: PeerAuthentication) -> Selected:
    return frozenset(spec.selector.match_labels.items()) if spec.selector is not None else frozenset()


_KINDS: dict[GroupKind, tuple[str, Callable[..., Selected]]] = {
    kinds.PEER_AUTHENTICATION: ("spec.selector", _of_peer_authentication),
    kinds.SIDECAR: ("spec.workloadSelector", _of_sidecar),
}


@query
def superseded(view: View, kind: GroupKind) -> tuple[Superseded, ...]:
    """Return the objects of a kind that select the same workloads as an older one of their namespace, sorted."""
    path, selected = _KINDS[kind]
    groups: dict[tuple[str, Selected], list[Object]] = {}
    for key in view.keys(kind):
        if (obj := view.get(key)) is not None and not isinstance(obj.spec, StrictInstead):
            groups.setdefault((key.namespace, selected(obj.spec)), []).append(obj)
    found: list[Superseded] = []
    for group in groups.values():
        winner = min(group, key=lambda obj: obj.age_order)
        found += [Superseded(obj.key, path, winner.key) for obj in group if obj is not winner]
    return tuple(sorted(found))
