"""A change applied to a mesh, object by object, and all that is different then."""

from __future__ import annotations

import re  # noqa: TID251 - paths of ours
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.analysis.findings import Finding, findings, without_connected
from controlplane.analysis.left_out import LeftOutChanges
from controlplane.analysis.of_registry import between_objects
from controlplane.compiler.compiler import Compiler, Session
from controlplane.model.left_out import LeftOut
from controlplane.model.objects import ChangeSet, Object, Rejected
from controlplane.model.proxy import Proxy
from controlplane.plan.pushed import ResourceChange, pushed
from controlplane.plan.references import Dangling, dangling
from controlplane.plan.written import ObjectChange, object_changes
from controlplane.snapshots import Resource, ResourceType, Snapshot

_PLACE = re.compile(r"\[\d+\]")
MOST_ALONE = 50
"""Objects up to which each is applied alone, so that what comes of it is known; more are applied together."""


@dataclass(frozen=True, slots=True)
class Group:
    """Proxies, by their ids, that are sent the same."""

    proxies: tuple[str, ...]
    changes: tuple[ResourceChange, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """What comes of one object, applied after those before it; ``groups`` is ``None`` where that was not looked at."""

    change: ObjectChange
    groups: tuple[Group, ...] | None


@dataclass(frozen=True, slots=True)
class Broken:
    """A cluster that is led to and not there any more, or not yet, for some proxies."""

    dangling: Dangling
    proxies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change would do: ``groups`` are all proxies that are sent something, each once.

    ``revision`` is that of the registry before. ``begun`` and ``ended`` are findings that are new, and that are gone;
    ``broken`` likewise is new. ``left_out`` are parts that Envoy would refuse then, ``taken_in`` those that it would
    not refuse any more. ``unbuilt`` says what could not be built, by type and name.
    """

    revision: int
    proxies: Mapping[str, Proxy]
    effects: tuple[Effect, ...] = ()
    groups: tuple[Group, ...] = ()
    begun: tuple[Finding, ...] = ()
    ended: tuple[Finding, ...] = ()
    broken: tuple[Broken, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    taken_in: tuple[LeftOut, ...] = ()
    unbuilt: Mapping[tuple[ResourceType, str], str] = field(default_factory=dict)
    refused: tuple[Rejected, ...] = ()


class Planning:
    """One compiler, with the proxies whose snapshots are compared. What is applied to it stays applied."""

    def __init__(self, compiler: Compiler, proxies: Mapping[str, Proxy], *, connected: bool = False) -> None:
        """``connected`` says that the proxies are really there; else they are those that files stand for."""
        self._compiler = compiler
        self._proxies = proxies
        self._connected = connected
        self._sessions: dict[str, Session] = {}
        self._differences: dict[tuple[int, int], tuple[ResourceChange, ...]] = {}
        self._kept: list[Snapshot] = []  # compared by their ids: none may go while these are used
        self._named: dict[Resource, frozenset[str]] = {}

    @property
    def proxies(self) -> Mapping[str, Proxy]:
        """The proxies, by their ids."""
        return self._proxies

    async def open(self) -> None:
        """Have the snapshots of all proxies built, once.

        Raises:
            ClassificationError: what a proxy is cannot be found out (our bug).
        """
        for id_, proxy in self._proxies.items():
            if id_ not in self._sessions:
                self._sessions[id_] = await self._compiler.open(proxy, _nobody)

    async def planned(self, changes: ChangeSet) -> Plan:
        """Apply a change and return what is different; objects that are as they were are none.

        Raises:
            ClassificationError: what a proxy is cannot be found out (our bug).
        """
        registry = self._compiler.registry
        revision = registry.revision
        await self.open()
        before, known = self._snapshots(), self.findings()
        leaving_out = LeftOutChanges(registry.memo)
        changed = tuple(object_changes(registry.objects, changes))
        effects = await self._applied(changed)
        after, found = self._snapshots(), self.findings()
        return Plan(
            revision,
            self._proxies,
            effects,
            self._groups(before, after),
            _without(found, known),
            _without(known, found),
            tuple(self._broken(before, after)),
            leaving_out.begun,
            leaving_out.ended,
            _unbuilt(before.values(), after.values()),
            changes.rejections,
        )

    async def makes_something(self, obj: Object, without: Sequence[Object] = ()) -> bool:
        """Whether a proxy would be sent something for an object that is not there, if others were not there either."""
        others = ChangeSet((), tuple(each.key for each in without))
        await self._compiler.apply(others)
        before = self._snapshots()
        await self._compiler.apply(ChangeSet((obj,)))
        found = bool(self._groups(before, self._snapshots()))
        await self._compiler.apply(ChangeSet(tuple(without), (obj.key,)))
        return found

    async def _applied(self, changed: Sequence[ObjectChange]) -> tuple[Effect, ...]:
        if len(changed) > MOST_ALONE:
            upserts = tuple(each.after for each in changed if each.after is not None)
            deletes = tuple(each.key for each in changed if each.after is None)
            await self._compiler.apply(ChangeSet(upserts, deletes))
            return tuple(Effect(each, None) for each in changed)
        effects = []
        for each in changed:
            before = self._snapshots()
            await self._compiler.apply(each.change_set)
            effects.append(Effect(each, self._groups(before, self._snapshots())))
        return tuple(effects)

    def _snapshots(self) -> dict[str, Snapshot]:
        held = {id_: session.snapshot for id_, session in self._sessions.items()}
        self._kept += held.values()
        return held

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong between objects as they are now: what a control plane tells, and ``analyze``."""
        registry = self._compiler.registry
        found: tuple[Finding, ...] = registry.memo.outcome(findings, ()).value or ()
        proxies = self._proxies.values()
        found = without_connected(registry, found, proxies)
        more = between_objects(registry, proxies if self._connected else None)
        return tuple(dict.fromkeys((*found, *more)))

    def _groups(self, before: Mapping[str, Snapshot], after: Mapping[str, Snapshot]) -> tuple[Group, ...]:
        """Return the proxies whose snapshots differ, those that differ in the same together."""
        of: dict[tuple[int, int], list[str]] = {}
        for id_, held in before.items():
            of.setdefault((id(held), id(after[id_])), []).append(id_)
        alike: dict[tuple[ResourceChange, ...], list[str]] = {}
        for pair, ids in of.items():
            difference = self._differences.get(pair)
            if difference is None:
                difference = self._differences[pair] = tuple(pushed(before[ids[0]], after[ids[0]]))
            if difference:
                alike.setdefault(difference, []).extend(ids)
        return tuple(Group(tuple(sorted(ids)), difference) for difference, ids in alike.items())

    def _broken(self, before: Mapping[str, Snapshot], after: Mapping[str, Snapshot]) -> Iterator[Broken]:
        """Yield what is led to and not there, where it was not so before."""
        of: dict[tuple[int, int], list[str]] = {}
        for id_, held in before.items():
            if held is not after[id_]:
                of.setdefault((id(held), id(after[id_])), []).append(id_)
        found: dict[Dangling, list[str]] = {}
        for ids in of.values():
            was, now = (dangling(held[ids[0]], self._named) for held in (before, after))
            for each in now - was:
                found.setdefault(each, []).extend(ids)
        for each in sorted(found, key=lambda each: (each.cluster, each.user)):
            yield Broken(each, tuple(sorted(found[each])))


def _without(found: Iterable[Finding], known: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings that are not known.

    One is known whose field, code and winner are the same; also one that another entry before it in a list has moved.
    """
    held, before = tuple(found), tuple(known)
    marks, now = {_mark(each) for each in before}, {_mark(each) for each in held}
    moved = Counter(_unplaced(each) for each in before if _mark(each) not in now)
    new = []
    for each in held:
        if _mark(each) in marks:
            continue
        if moved[_unplaced(each)]:
            moved[_unplaced(each)] -= 1
        else:
            new.append(each)
    return tuple(new)


def _mark(finding: Finding) -> tuple[object, ...]:
    return finding.key, finding.path, finding.code, finding.winner


def _unplaced(finding: Finding) -> tuple[object, ...]:
    """Return what a finding says wherever in a list it says it."""
    return finding.key, _PLACE.sub("[]", finding.path), finding.code, finding.winner, finding.reason


def _unbuilt(before: Iterable[Snapshot], after: Iterable[Snapshot]) -> dict[tuple[ResourceType, str], str]:
    was, now = (
        {
            (type_, name): reason
            for held in {id(each): each for each in snapshots}.values()
            for type_, failures in held.failures.items()
            for name, reason in failures.reasons.items()
        }
        for snapshots in (before, after)
    )
    return {name: reason for name, reason in now.items() if name not in was}


def _nobody() -> None:
    """Hear of a new snapshot: it is looked at once all is applied."""
