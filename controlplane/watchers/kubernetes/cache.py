"""What is held of one resource of the cluster, and what of it is new to the rest of the program."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from controlplane.model.objects import Object, ObjectKey, Rejected
from controlplane.model.parse import Parsed
from controlplane.model.status import Received, Written, written
from controlplane.watchers.kinds import Unused, parse
from controlplane.watchers.kubernetes.errors import NonsenseError
from controlplane.watchers.kubernetes.selection import in_revision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controlplane.watchers.kubernetes.change_buffer import ChangeBuffer
    from controlplane.watchers.kubernetes.resources import Resource
    from controlplane.watchers.kubernetes.selection import Selection

log = structlog.get_logger()

Place = tuple[str, str]
"""Namespace (empty where there is none) and name of an object, as the cluster has them."""
RawObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """One object of the cluster: ``object`` is its last good version, ``rejected`` what is wrong with its newest.

    Without a good version ``object`` may be what stands in the place of a refused one.

    ``generation``, ``uid`` and ``version`` (the API version) are those of its newest, ``written`` is what its status
    says.
    """

    resource_version: str
    object: Object | None = None
    rejected: Rejected | None = None
    warnings: tuple[str, ...] = ()
    generation: int = 0
    version: str = ""
    uid: str = ""
    written: Written = field(default_factory=Written)


NOTHING = Held("")
"""What is held of an object that is not there."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose objects count: ``revision`` is that of this control plane, ``kube_cluster`` names where it reads."""

    selection: Selection
    revision: str
    kube_cluster: str


class Cache:
    """The objects of one resource, in one namespace or in all; also those that do not count at present.

    Changes of those that count go to the buffer. ``names`` are the names that are other here than in the cluster.
    """

    def __init__(
        self, resource: Resource, scope: Scope, buffer: ChangeBuffer, names: dict[str, str] | None = None
    ) -> None:
        self.resource = resource
        self._scope = scope
        self._buffer = buffer
        self._names = names or {}
        self._held: dict[Place, Held] = {}
        self._odd: set[Place] = set()  # with something wrong in them: few, and asked for often
        self._sources: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    def objects(self) -> Iterator[Object]:
        """Yield the last good versions of all objects, whether they count or not."""
        return (held.object for held in self._held.values() if held.object is not None)

    def odd(self) -> Iterator[Held]:
        """Yield what is held of the objects that count and are refused or warned of."""
        admits = self._scope.selection.admits
        return (self._held[place] for place in sorted(self._odd) if admits(place[0]))

    def received(self) -> Iterator[Received]:
        """Yield the newest versions of all objects that count, good or not."""
        for place in tuple(self._held):
            if (found := self.find(place)) is not None:
                yield found

    def find(self, place: Place) -> Received | None:
        """Return the newest version of an object that counts; ``None`` where there is none."""
        held = self._held.get(place, NOTHING)
        if (held.object is None and held.rejected is None) or not self._scope.selection.admits(place[0]):
            return None
        return Received(
            key=self._key(place),
            version=held.version,
            resource_version=held.resource_version,
            generation=held.generation,
            written=held.written,
            problems=held.rejected.problems if held.rejected is not None else (),
            warnings=held.warnings,
            uid=held.uid,
        )

    def put(self, raw: RawObject, version: str) -> None:
        """Take the newest version of one object, as the server gave it in this API version.

        Raises:
            NonsenseError: it is no object at all.
        """
        self.take(*self.staged(raw, version, same_history=False))

    def take(self, place: Place, after: Held) -> None:
        """Take what ``staged`` returned for the newest version of one object."""
        before = self._held.get(place, NOTHING)
        self._held[place] = after
        if _is_odd(after):
            self._odd.add(place)
        else:
            self._odd.discard(place)
        self._tell(place, before, after)

    def drop(self, raw: RawObject) -> None:
        """Take the news that an object is no more; raises as ``put`` does."""
        place = _place(raw)
        self._odd.discard(place)
        self._tell(place, self._held.pop(place, NOTHING), NOTHING)

    def staged(self, raw: RawObject, version: str, *, same_history: bool) -> tuple[Place, Held]:
        """Return what would be held of an object, for ``replace`` or ``take``; raises as ``put`` does.

        It may run in another thread, as long as nothing else changes what is held.
        ``same_history``: an object that has the resource version that it had when it was read is the same one.
        """
        place = _place(raw)
        before = self._held.get(place)
        if same_history and before is not None and before.resource_version == raw["metadata"].get("resourceVersion"):
            return place, before
        return place, self._read(place, raw, version)

    def replace(self, held: dict[Place, Held]) -> None:
        """Hold exactly the objects of a complete list; only what differs is told."""
        before, self._held = self._held, held
        self._odd = {place for place, each in held.items() if _is_odd(each)}
        for place, gone in before.items():
            if place not in held:
                self._tell(place, gone, NOTHING)
        for place, after in held.items():
            self._tell(place, before.get(place, NOTHING), after)

    def select(self, admitted_before: frozenset[str] | None) -> None:
        """Tell what counts now and did not, and the reverse; ``admitted_before`` as ``Selection.admitted``."""
        admits = self._scope.selection.admits
        for place, held in self._held.items():
            namespace = place[0]
            was = admitted_before is None or not namespace or namespace in admitted_before
            if was != admits(namespace):
                self._announce(place, *((held, NOTHING) if was else (NOTHING, held)))

    def _read(self, place: Place, raw: RawObject, version: str) -> Held:
        metadata = raw["metadata"]
        resource_version = metadata.get("resourceVersion", "")
        if self.resource.definition and not in_revision(metadata.get("labels"), self._scope.revision):
            return Held(resource_version)
        raw["apiVersion"], raw["kind"] = self.resource.api_version(version), self.resource.kind
        if place[1] in self._names:
            metadata["name"] = self._names[place[1]]
        result = parse(raw, self._source(version))
        if isinstance(result, Unused):
            return Held(resource_version)
        if isinstance(result, Parsed):
            known = _unless_written(self._held.get(place, NOTHING).object, result.object)
            held = Held(resource_version, known, None, result.warnings)
        else:
            before = self._held.get(place, NOTHING)
            only_stands = before.rejected is not None and before.object is before.rejected.stand_in
            last_good = None if only_stands else before.object
            held = Held(resource_version, last_good or result.stand_in, replace(result, key=self._key(place)))
        if not self.resource.status:
            return held
        generation = metadata.get("generation")
        return replace(
            held,
            generation=generation if isinstance(generation, int) else 0,
            version=version,
            uid=str(metadata.get("uid", "")),
            written=written(raw.get("status")),
        )

    def _source(self, version: str) -> str:
        """Return where an object was read; one text for all of them, there are many."""
        if version not in self._sources:
            self._sources[version] = f"{self._scope.kube_cluster} {self.resource.api_version(version)}"
        return self._sources[version]

    def _key(self, place: Place) -> ObjectKey:
        return ObjectKey(self.resource.group_kind, place[0], self._names.get(place[1], place[1]))

    def _tell(self, place: Place, before: Held, after: Held) -> None:
        if before is not after and self._scope.selection.admits(place[0]):
            self._announce(place, before, after)

    def _announce(self, place: Place, before: Held, after: Held) -> None:
        """Put into the buffer what makes ``after`` of ``before``; where a refusal ends, the object itself as well."""
        if self.resource.status and before.resource_version != after.resource_version:
            self._buffer.statuses.send()  # whatever is different: what was written for the version before was refused
        over = before.rejected is not None and after.rejected is None
        if after.object is not None:
            if over or before.object is None or _differ(before.object, after.object):
                self._buffer.upsert(after.object)
        elif over or before.object is not None:
            self._buffer.delete(self._key(place))
        refused = after.rejected
        if refused is not None and (before.rejected is None or before.rejected.problems != refused.problems):
            log.warning(
                "registry.rejected", object=str(refused.key), problems=list(refused.problems), source=refused.source
            )
            self._buffer.reject(refused)
        for warning in after.warnings:
            if warning not in before.warnings:
                log.warning("watchers.warned", object=str(self._key(place)), problem=warning)


def _is_odd(held: Held) -> bool:
    return held.rejected is not None or bool(held.warnings)


def _unless_written(before: Object | None, after: Object) -> Object:
    """Return ``before`` where only its status was written since: the version that proxies are told stays."""
    if before is None or before.meta.generation != after.meta.generation:
        return after
    told = replace(after.meta, resource_version=before.meta.resource_version)
    return before if replace(after, meta=told) == before else after


def _differ(before: Object, after: Object) -> bool:
    """Whether an object is another; a new generation alone makes one, since its status names it."""
    return before != after or before.meta.generation != after.meta.generation


def _place(raw: RawObject) -> Place:
    try:
        metadata = raw["metadata"]
        return metadata.get("namespace", ""), metadata["name"]
    except (KeyError, TypeError, AttributeError):
        raise NonsenseError("an object without a name") from None
