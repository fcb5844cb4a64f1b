"""What the control plane itself finds when it reads objects, and Istio has no code for."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analysis import codes
from controlplane.analysis.overruled import overruled
from controlplane.analysis.resources import Message, Resource, Resources, message
from controlplane.analysis.superseded import superseded
from controlplane.analysis.untranslated import untranslated
from controlplane.apis.kinds import KINDS
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.parse import Parsed, parse
from controlplane.registry.store import Registry


def _objects(resources: Resources) -> Iterator[tuple[Resource, Object]]:
    """Yield the objects of Istio's kinds that can be used."""
    for name in KINDS:
        for each in resources.of(kinds.istio_kind(name)):
            parsed = parse(name, each.written) if not each.cluster else None
            if isinstance(parsed, Parsed):
                yield each, parsed.object


def conflicts(resources: Resources) -> Iterator[Message]:
    """Find fields of objects in place of which those of an older one are used."""
    about = {obj.key: (each, obj) for each, obj in _objects(resources)}
    registry = Registry()
    registry.apply(ChangeSet(tuple(obj for _, obj in about.values())))
    for lost in registry.memo.get(overruled, ()):
        yield message(codes.OVERRULED, about[lost.key][0], lost.path, winner=lost.winner)
    for policy in registry.memo.get(superseded, kinds.PEER_AUTHENTICATION):
        yield message(codes.SUPERSEDED, about[policy.key][0], policy.path, winner=policy.winner)


def fields(resources: Resources) -> Iterator[Message]:
    """Find fields that no translator uses."""
    for each, obj in _objects(resources):
        for path in untranslated(obj):
            yield message(codes.UNTRANSLATED, each, path, field=path)
