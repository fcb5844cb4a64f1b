"""The incremental compiler: snapshots per proxy class, kept up to date by swapping exactly what changed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import structlog

from controlplane.compiler.inventory import Part, Target, Targets, parts
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.model.proxy_class import ProxyClass
from controlplane.registry.store import Fact, Registry
from controlplane.registry.workloads import classify
from controlplane.snapshots import Resource, ResourceType, Snapshot
from controlplane.translate.empty import empty_resource

log = structlog.get_logger(__name__)

#: how long the loop may be held before others get a turn, in seconds
SLICE_SECONDS = 0.01
#: how long a class without proxies is kept for one that comes back, in seconds
KEEP_SECONDS = 60.0


#: by whether the proxy is a gateway
_MISSING = {router: partial(empty_resource, router=router) for router in (False, True)}


@dataclass(slots=True, eq=False)
class _PartState:
    """A part's targets and what they built to. ``resources`` is replaced, never changed in place."""

    part: Part
    targets: Targets = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    classes: set[ProxyClass] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _ClassState:
    """A proxy class: its parts, its snapshot, the sessions that hold it."""

    parts: tuple[_PartState, ...]
    snapshot: Snapshot
    sessions: set[Session] = field(default_factory=set)


class Session:
    """One connected proxy's claim on the snapshots of its class."""

    __slots__ = ("_compiler", "changed", "missing", "proxy", "proxy_class", "snapshot")

    def __init__(self, compiler: Compiler, proxy: Proxy, changed: Callable[[], None]) -> None:
        self._compiler = compiler
        self.proxy = proxy
        self.changed = changed
        self.snapshot = Snapshot()
        self.proxy_class: ProxyClass
        self.missing = _MISSING[proxy.type == "router"]

    def close(self) -> None:
        """Give the claim back."""
        self._compiler.close(self)


class Compiler:
    """All snapshots of one registry. One change set or one new class at a time; long work yields to the loop."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._lock = asyncio.Lock()
        self._classes: dict[ProxyClass, _ClassState] = {}
        self._parts: dict[tuple[Any, Any], _PartState] = {}
        self._holders: defaultdict[Target, set[_PartState]] = defaultdict(set)
        self._sessions: dict[Proxy, set[Session]] = {}
        self._builders: set[str] = set()
        self._turn = 0.0

    @property
    def builds(self) -> int:
        """How many targets were built so far, each time counted: what a change costs."""
        runs = self.registry.memo.runs
        return sum(runs.get(name, 0) for name in self._builders)

    @property
    def class_count(self) -> int:
        """How many proxy classes have a snapshot."""
        return len(self._classes)

    async def open(self, proxy: Proxy, changed: Callable[[], None]) -> Session:
        """Return a session with its first snapshot; ``changed`` is called after each later one."""
        session = Session(self, proxy, changed)
        async with self._lock:
            self._turn = perf_counter()
            memo = self.registry.memo
            memo.keep(classify, proxy)
            self._sessions.setdefault(proxy, set()).add(session)
            try:
                await self._join(session, memo.get(classify, proxy))
            except BaseException:
                self._forget(session)
                raise
        return session

    def close(self, session: Session) -> None:
        """Drop a session; its class is kept for a while, for a proxy that reconnects."""
        state = self._classes.get(session.proxy_class)
        if state is not None:
            state.sessions.discard(session)
            if not state.sessions:
                asyncio.get_running_loop().call_later(KEEP_SECONDS, self._retire, session.proxy_class)
        self._forget(session)

    async def apply(self, changes: ChangeSet) -> bool:
        """Store a change set and bring every snapshot up to date; return whether anything in the registry changed."""
        async with self._lock:
            facts = self.registry.apply(changes)
            if facts:
                self._turn = perf_counter()
                await self._update(facts)
            return bool(facts)

    def snapshot_of(self, proxy: Proxy) -> Snapshot | None:
        """Return the latest snapshot of a connected proxy."""
        sessions = self._sessions.get(proxy)
        return next(iter(sessions)).snapshot if sessions else None

    def behind(self, proxy: Proxy, type_: ResourceType, name: str) -> tuple[ObjectKey, ...]:
        """Return the objects that a resource of this proxy was made from, sorted: its provenance."""
        session = next(iter(self._sessions.get(proxy, ())), None)
        if session is None:
            return ()
        for state in self._classes[session.proxy_class].parts:
            target = state.targets.get(name) if state.part.type is type_ else None
            if target is not None:
                facts: Iterable[Any] = self.registry.memo.facts(target.query, target.key)
                held = {fact.key for fact in facts if isinstance(fact, Fact) and fact.about == "object"}
                return tuple(sorted(key for key in held if key in self.registry.objects))
        return ()

    async def _join(self, session: Session, proxy_class: ProxyClass) -> None:
        state = self._classes.get(proxy_class)
        if state is None:
            held = tuple([await self._part(part) for part in parts(proxy_class)])
            state = _ClassState(held, Snapshot())
            for part_state in held:
                part_state.classes.add(proxy_class)
            self._classes[proxy_class] = state
            state.snapshot = _assembled(state, self.registry.revision, None)
        state.sessions.add(session)
        session.proxy_class = proxy_class
        session.snapshot = state.snapshot

    async def _part(self, part: Part) -> _PartState:
        state = self._parts.get((part.query, part.key))
        if state is None:
            state = _PartState(part)
            self.registry.memo.keep(part.query, part.key)
            targets = self._targets(part, {})
            resources: dict[str, Resource] = {}
            for name, target in targets.items():
                resource = await self._built(target)
                if resource is not None:
                    resources[name] = resource
                self._hold(target, state)
            state.targets, state.resources = targets, resources
            self._parts[part.query, part.key] = state
        return state

    def _targets(self, part: Part, before: Targets) -> Targets:
        """Return a part's targets; where finding them fails (our bug) what was known before stays."""
        try:
            targets: Targets = self.registry.memo.get(part.query, part.key)
        except Exception:  # the other parts and classes go on
            log.exception("compiler.inventory_failed", query=part.query.name, key=str(part.key))
            return before
        return targets

    async def _built(self, target: Target) -> Resource | None:
        resource: Resource | None = self.registry.memo.get(target.query, target.key)
        await self._breathe()
        return resource

    async def _breathe(self) -> None:
        if perf_counter() - self._turn > SLICE_SECONDS:
            await asyncio.sleep(0)
            self._turn = perf_counter()

    async def _update(self, facts: Collection[Fact]) -> None:
        memo = self.registry.memo
        stale = memo.invalidate(facts)
        changed: set[_PartState] = set()
        swaps: defaultdict[_PartState, dict[str, Resource | None]] = defaultdict(dict)
        for query, key in stale:
            if query is classify:
                continue
            target = Target(query, key)
            for state in self._holders.get(target, ()):
                resource = await self._built(target)
                for name in self._names(state, target, resource):
                    if state.resources.get(name) != resource:
                        swaps[state][name] = resource
        for state, swap in swaps.items():
            state.resources = _swapped(state.resources, swap)
            changed.add(state)
        for pair in stale:
            part_state = self._parts.get(pair)
            if part_state is not None and await self._retarget(part_state):
                changed.add(part_state)
        await self._publish(changed, [key for query, key in stale if query is classify])
        memo.collect()

    def _names(self, state: _PartState, target: Target, resource: Resource | None) -> tuple[str, ...]:
        if resource is not None:
            return (resource.name,)
        return tuple(name for name, held in state.targets.items() if held == target)

    async def _retarget(self, state: _PartState) -> bool:
        """Bring a part's targets up to date; return whether its resources differ."""
        before = state.targets
        after = self._targets(state.part, before)
        if after is before:
            return False
        resources = dict(state.resources)
        for name in before.keys() - after.keys():
            resources.pop(name, None)
            self._release(before[name], state)
        for name, target in after.items():
            old = before.get(name)
            if old == target:
                continue
            if old is not None:
                self._release(old, state)
            self._hold(target, state)
            resource = await self._built(target)
            if resource is None:
                resources.pop(name, None)
            else:
                resources[name] = resource
        state.targets = after
        if resources == state.resources:
            return False
        state.resources = resources
        return True

    def _hold(self, target: Target, state: _PartState) -> None:
        self._holders[target].add(state)
        self._builders.add(target.query.name)
        self.registry.memo.keep(target.query, target.key)

    def _release(self, target: Target, state: _PartState) -> None:
        held = self._holders[target]
        held.discard(state)
        if not held:
            del self._holders[target]
            self.registry.memo.release(target.query, target.key)

    async def _publish(self, changed: set[_PartState], reclassified: list[Proxy]) -> None:
        moved: set[Session] = set()
        affected = {proxy_class for state in changed for proxy_class in state.classes}
        for proxy_class in affected:
            state = self._classes[proxy_class]
            types = {held.part.type for held in state.parts if held in changed}
            snapshot = _assembled(state, self.registry.revision, types)
            state.snapshot = snapshot
            for session in state.sessions:
                session.snapshot = snapshot
                moved.add(session)
        for proxy in reclassified:
            for session in tuple(self._sessions.get(proxy, ())):
                after = self._reclassified(session)
                if after != session.proxy_class:
                    before = self._classes[session.proxy_class]
                    before.sessions.discard(session)
                    left = session.proxy_class
                    await self._join(session, after)
                    moved.add(session)
                    if not before.sessions:
                        self._retire(left)
        for session in moved:
            session.changed()

    def _reclassified(self, session: Session) -> ProxyClass:
        """Return a proxy's class now; where that fails (our bug) it keeps the one it has."""
        try:
            return self.registry.memo.get(classify, session.proxy)
        except Exception:  # the other proxies go on
            log.exception("compiler.classify_failed", proxy=session.proxy.id)
            return session.proxy_class

    def _forget(self, session: Session) -> None:
        held = self._sessions.get(session.proxy)
        if held is not None:
            held.discard(session)
            if not held:
                del self._sessions[session.proxy]
                self.registry.memo.release(classify, session.proxy)

    def _retire(self, proxy_class: ProxyClass) -> None:
        """Drop a class nobody holds, and the parts only it held."""
        state = self._classes.get(proxy_class)
        if state is None or state.sessions:
            return
        del self._classes[proxy_class]
        for held in state.parts:
            held.classes.discard(proxy_class)
            if not held.classes and self._parts.pop((held.part.query, held.part.key), None) is not None:
                for target in held.targets.values():
                    self._release(target, held)
                self.registry.memo.release(held.part.query, held.part.key)


def _swapped(resources: dict[str, Resource], swap: dict[str, Resource | None]) -> dict[str, Resource]:
    result = dict(resources)
    for name, resource in swap.items():
        if resource is None:
            result.pop(name, None)
        else:
            result[name] = resource
    return result


def _assembled(state: _ClassState, revision: int, types: set[ResourceType] | None) -> Snapshot:
    """Join the parts by type; a type with one part shares its mapping, types not named keep theirs."""
    resources = dict(state.snapshot.resources) if types is not None else {}
    by_type: defaultdict[ResourceType, list[dict[str, Resource]]] = defaultdict(list)
    for held in state.parts:
        if types is None or held.part.type in types:
            by_type[held.part.type].append(held.resources)
    for type_, mappings in by_type.items():
        if len(mappings) == 1:
            resources[type_] = mappings[0]
        else:
            joined: dict[str, Resource] = {}
            for mapping in reversed(mappings):  # of two with one name the first wins
                joined.update(mapping)
            resources[type_] = joined
    return Snapshot(revision, resources)
