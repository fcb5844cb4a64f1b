"""Objects and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.admin.pace import PAUSE, Pause
from controlplane.admin.sources import AdminSources
from controlplane.api.models import ObjectDetail, ObjectName, ObjectRow, Problem
from controlplane.api.proxies import cut
from controlplane.api.queries import FindingsQuery, ObjectsQuery
from controlplane.model import problems
from controlplane.model.manifest import manifest
from controlplane.model.objects import Object, ObjectKey
from controlplane.patches.published_manifest import published_manifest

LEVELS = ("Error", "Warning", "Info")
"""The worst first."""
_LONGEST_REASON = 16_384
Found = problems.Problem


def problem_row(found: Found) -> Problem:
    """Return one problem."""
    return Problem(
        object=ObjectName.of(found.key),
        sort=found.sort,
        level=str(found.level),
        code=found.code,
        path=found.path,
        reason=cut(found.reason, _LONGEST_REASON),
        winner=ObjectName.of(found.winner) if found.winner is not None else None,
        source=found.source,
    )


def problem_order(found: Found) -> tuple[str, ...]:
    """Return what problems are sorted by: level, the worst first; then the object."""
    key = found.key
    kind = (key.kind.group, key.kind.name)
    level = str(LEVELS.index(found.level))
    return (
        level,
        *kind,
        key.namespace,
        key.name,
        key.cluster,
        found.source,
        found.path,
        found.reason[:_LONGEST_REASON],
    )


def problems_found(sources: AdminSources, asked: FindingsQuery) -> Iterator[Found | Pause]:
    """Yield the problems that are asked for."""
    for found in sources.problems():
        yield PAUSE
        if (
            asked.namespace in {"", found.key.namespace}
            and asked.level in {"", found.level}
            and asked.code in {"", found.code}
        ):
            yield found


def object_order(row: ObjectRow) -> tuple[str, ...]:
    """Return what objects are sorted by: those with problems first, then by name."""
    name = row.object
    level = str(LEVELS.index(row.level)) if row.level else "9"
    return (level, name.group, name.kind, name.namespace, name.name, name.cluster)


class ObjectRows:
    """Gathers rows of objects; a key is in one row, whatever is known of it."""

    def __init__(self, sources: AdminSources, asked: ObjectsQuery) -> None:
        self._sources = sources
        self._asked = asked

    def rows(self) -> Iterator[ObjectRow | Pause]:
        """Yield the objects that are asked for."""
        troubles: dict[ObjectKey, list[Found]] = {}
        for found in self._sources.problems():
            yield PAUSE
            if found.key.name and self._wanted(found.key):
                troubles.setdefault(found.key, []).append(found)
        for obj in self._sources.objects():
            yield PAUSE
            key = obj.key
            if self._wanted(key):
                known = troubles.pop(key, ())
                if known or not self._asked.troubled:
                    yield _row(key, obj, known)
        for key, known in troubles.items():
            yield _row(key, self._sources.object(key), known)

    def _wanted(self, key: ObjectKey) -> bool:
        asked = self._asked
        return asked.kind in {"", key.kind.name} and asked.namespace in {"", key.namespace} and asked.name in key.name


def _row(key: ObjectKey, obj: Object | None, known: Iterable[Found]) -> ObjectRow:
    found = list(known)
    return ObjectRow(
        object=ObjectName.of(key),
        in_force=obj is not None,
        source=obj.meta.source if obj is not None else next((each.source for each in found), ""),
        created=obj.meta.created if obj is not None else "",
        generation=obj.meta.generation if obj is not None else 0,
        problems=len(found),
        level=str(min((each.level for each in found), key=LEVELS.index, default="")),
    )


def object_detail(
    sources: AdminSources, kind: str, namespace: str, name: str, istio: Iterable[ObjectKey]
) -> Iterator[ObjectDetail | Pause]:
    """Yield pauses, and at the end an object and what is known of it, nothing where there is no such object.

    ``istio`` are the keys that the name may mean; an object of another kind is found by its problems only.
    """
    about: list[Found] = []
    won: list[Found] = []
    keys = set(istio)
    for found in sources.problems():
        yield PAUSE
        if (found.key.kind.name, found.key.namespace, found.key.name) == (kind, namespace, name):
            about.append(found)
            keys.add(found.key)
        if found.winner is not None and found.winner[:3] in {key[:3] for key in keys}:
            won.append(found)
    obj = next(filter(None, map(sources.object, sorted(keys))), None)
    if obj is None and not about:
        return
    key = obj.key if obj is not None else about[0].key
    yield ObjectDetail(
        object=ObjectName.of(key),
        in_force=obj is not None,
        source=obj.meta.source if obj is not None else about[0].source,
        author=obj.meta.author if obj is not None else "",
        manifest=published_manifest(manifest(obj))
        if obj is not None and obj.kind in {each.kind for each in istio}
        else None,
        problems=[problem_row(each) for each in sorted(about, key=problem_order)],
        overrides=[problem_row(each) for each in sorted(won, key=problem_order)],
    )
