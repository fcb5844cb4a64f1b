"""Proxy classes and the sessions of their proxies: who is served which snapshot.

Synchronous, like ``parts``: what takes long is an iterator of steps. Between two steps sessions may open and close,
classes may come and go; each step looks at what is there then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from controlplane.compiler.assembling import Assembler
from controlplane.compiler.inventory import BEHIND, parts
from controlplane.compiler.parts import HeldPart, Parts
from controlplane.compiler.patching import behind_patches
from controlplane.compiler.targets import Target
from controlplane.engine.recording import Query
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.model.proxy_class import ProxyClass
from controlplane.registry.mesh import MESH_KEY
from controlplane.registry.store import Fact, Registry, View
from controlplane.registry.workloads import classify
from controlplane.snapshots import Resource, ResourceType, Snapshot
from controlplane.translate.empty import empty_resource

log = structlog.get_logger(__name__)

KEEP_SECONDS = 60.0
"""How long a class without proxies, and what a proxy was made from, is kept for one that comes back."""
_MOST_LEFT = 5_000
"""Proxies that left and of which that is kept; the one that left first is forgotten first."""
MOST_KEPT = 32
"""How many such classes are kept; of more, those go first that proxies left first."""

Stale = Iterable[tuple[Query[Any, Any], Any]]
"""Queries whose values may be others now."""


class ClassificationError(Exception):
    """What a proxy is could not be found out (our bug); ``str()`` says why."""


def _nobody() -> None:
    """Hear of a change after the session's end."""


def _missing_of_sidecars(type_: ResourceType, name: str) -> Resource | None:
    return empty_resource(type_, name, router=False)


def _missing_of_routers(type_: ResourceType, name: str) -> Resource | None:
    return empty_resource(type_, name, router=True)


@dataclass(slots=True, eq=False)
class HeldClass:
    """A proxy class: its parts, its snapshot, the sessions in it. ``snapshot`` is ``None`` until it was first made.

    ``outdated`` are the types in which the parts have other resources than the snapshot. ``retiring`` is set while
    no session is in it.
    """

    proxy_class: ProxyClass
    parts: tuple[HeldPart, ...]
    snapshot: Snapshot | None = None
    sessions: dict[Session, None] = field(default_factory=dict)
    outdated: set[ResourceType] = field(default_factory=set)
    retiring: asyncio.TimerHandle | None = None

    @property
    def current(self) -> bool:
        """Whether the snapshot is what the registry says now."""
        return self.snapshot is not None and not self.outdated and all(part.settled for part in self.parts)


class Session:
    """One connected proxy's hold on the snapshots of its class.

    ``changed`` is called after each snapshot but the first; ``served`` says whether there was one. ``held`` is the
    class that it is in; ``None`` before that is known and once the session is closed.
    """

    __slots__ = ("_classes", "changed", "held", "missing", "proxy", "served", "snapshot")

    def __init__(self, classes: Classes, proxy: Proxy, changed: Callable[[], None]) -> None:
        self._classes = classes
        self.proxy = proxy
        self.changed = changed
        self.snapshot = Snapshot()
        self.served = False
        self.held: HeldClass | None = None
        self.missing = _missing_of_routers if proxy.type == "router" else _missing_of_sidecars

    @property
    def proxy_class(self) -> ProxyClass | None:
        """The class that it is in."""
        return self.held.proxy_class if self.held is not None else None

    def close(self) -> None:
        """Let go."""
        self._classes.close(self)


class Classes:
    """All classes of one registry, and the sessions in them."""

    def __init__(self, registry: Registry, litter: Callable[[], None]) -> None:
        """Begin with none; ``litter`` is called when something was given back that the registry's memo may forget."""
        self._registry = registry
        self._litter = litter
        self.parts = Parts(registry.memo)
        self._assembler = Assembler()
        self._classes: dict[ProxyClass, HeldClass] = {}
        self._of_part: defaultdict[HeldPart, dict[HeldClass, None]] = defaultdict(dict)
        self._sessions: dict[Proxy, dict[Session, None]] = {}
        self._left: dict[Proxy, float] = {}  # until when each is kept, by the event loop's clock
        self._forgetting: asyncio.TimerHandle | None = None
        self._retiring: dict[HeldClass, None] = {}  # in the order in which proxies left them

    def __len__(self) -> int:
        return sum(held.snapshot is not None for held in self._classes.values())

    # Commands: each is done at once, whatever else is being done in steps.

    def enter(self, proxy: Proxy, changed: Callable[[], None]) -> Session:
        """Return a new session, which is in no class yet; what its proxy is made from is looked after from now on."""
        session = Session(self, proxy, changed)
        held = self._sessions.setdefault(proxy, {})
        if not held and self._left.pop(proxy, None) is None:
            self._registry.memo.keep(classify, proxy)
        held[session] = None
        return session

    def close(self, session: Session) -> None:
        """Drop a session. Its class is kept for a while, for a proxy that reconnects, if it was ever complete."""
        held = self._sessions.get(session.proxy)
        if held is None or session not in held:
            return
        del held[session]
        if not held:
            del self._sessions[session.proxy]
            self._left[session.proxy] = asyncio.get_running_loop().time() + KEEP_SECONDS
            self._forget()
        session.changed = _nobody  # which may lead back to the session
        self._leave(session)

    def _forget(self) -> None:
        """Forget what proxies were made from that left long ago, or that are too many."""
        loop, now = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        while self._left:
            proxy, until = next(iter(self._left.items()))
            if until > now and len(self._left) <= _MOST_LEFT:
                if self._forgetting is None:
                    self._forgetting = loop.call_at(until, self._forget_later)
                return
            del self._left[proxy]
            self._registry.memo.release(classify, proxy)
            self._litter()

    def _forget_later(self) -> None:
        self._forgetting = None
        self._forget()

    def hush(self) -> None:
        """Tell no session of a new snapshot any more; it is there all the same."""
        for sessions in self._sessions.values():
            for session in sessions:
                session.changed = _nobody

    def retire(self, held: HeldClass) -> None:
        """Drop a class that no session is in, and the parts that only it had."""
        if held.sessions or self._classes.get(held.proxy_class) is not held:
            return
        del self._classes[held.proxy_class]
        self._stay(held)
        for part in held.parts:
            classes = self._of_part[part]
            classes.pop(held, None)
            if not classes:
                del self._of_part[part]
            self.parts.give_back(part)
        self._litter()

    def serve(self, session: Session) -> bool:
        """Give a session its first snapshot if there is nothing to find out and nothing to build; return whether."""
        memo = self._registry.memo
        if memo.is_stale(classify, session.proxy):
            return False
        held = self._classes.get(memo.outcome(classify, session.proxy).value)
        if held is None or held.snapshot is None or not held.current:
            return False
        self._join(session, held.proxy_class)
        self._tell(session, held.snapshot)
        return True

    # Work: in steps.

    def admit(self, session: Session) -> Iterator[None]:
        """Bring a session that entered to its first snapshot. It is there at the end, unless the session was closed.

        Raises:
            ClassificationError: what it is cannot be found out.
        """
        while self._is_open(session) and not session.served:
            held = session.held
            if held is None:
                outcome = self._registry.memo.outcome(classify, session.proxy)
                if not isinstance(outcome.value, ProxyClass):
                    raise ClassificationError(outcome.failure)
                held = self._join(session, outcome.value)
            yield
            yield from self._bring_up(held)

    def update(self, stale: Stale) -> Iterator[None]:
        """Bring all classes of connected proxies to what the registry says now; each is published when it is ready.

        The class of a proxy that still waits for its first snapshot is left to ``admit``, one without a proxy until
        one comes back.
        """
        concerned: dict[HeldClass, None] = {}
        pairs = tuple(stale)
        for part in self.parts.mark(pairs):
            concerned.update(self._of_part[part])
        proxies = [key for query, key in pairs if query is classify]
        yield
        for proxy in proxies:
            for session in tuple(self._sessions.get(proxy, ())):
                if session.held is not None and self._reclassify(session):
                    concerned[session.held] = None
            yield
        for held in concerned:
            if any(session.served for session in held.sessions):
                yield from self._bring_up(held)

    def rebuild(self) -> Iterator[None]:
        """Forget all that is derived and make it anew; sessions keep the snapshots they have until then."""
        self.parts.clear()
        self._registry.memo.forget()
        self._of_part.clear()
        for held in tuple(self._retiring):
            self._stay(held)
        self._classes.clear()
        sessions = [session for held in self._sessions.values() for session in held]
        for session in sessions:
            session.held = None
        for session in sessions:
            if session.served and self._is_open(session):
                outcome = self._registry.memo.outcome(classify, session.proxy)
                if isinstance(outcome.value, ProxyClass):
                    yield from self._bring_up(self._join(session, outcome.value))
            yield

    # Questions.

    def behind(self, proxy: Proxy, type_: ResourceType, name: str) -> Iterator[ObjectKey | None]:
        """Yield the objects that a resource of this proxy was made from: its provenance, in no order, perhaps twice.

        ``None`` stands for what was looked at and is no object, so that the caller may pause after each step.
        """
        for session in tuple(self._sessions.get(proxy, ())):
            for part in session.held.parts if session.held is not None else ():
                target = part.targets.get(name) if part.part.type is type_ else None
                if target is not None:
                    yield from self._objects_behind(target)
                    return

    def _objects_behind(self, target: Target) -> Iterator[ObjectKey | None]:
        plain, filters = behind_patches(target)
        if plain is not None:
            yield from filters
            target = plain
        stated = BEHIND.get(target.query)
        if stated is not None:
            yield MESH_KEY if MESH_KEY in self._registry.objects else None
            yield from stated(View(self._registry), target.key)
            return
        for fact in self._registry.memo.facts(target.query, target.key):
            if isinstance(fact, Fact) and fact.about == "object" and fact.key in self._registry.objects:
                yield fact.key
            else:
                yield None

    def _is_open(self, session: Session) -> bool:
        return session in self._sessions.get(session.proxy, ())

    def _join(self, session: Session, proxy_class: ProxyClass) -> HeldClass:
        held = self._classes.get(proxy_class)
        if held is None:
            held = HeldClass(proxy_class, tuple(self.parts.take(part) for part in parts(proxy_class)))
            self._classes[proxy_class] = held
            for part in held.parts:
                self._of_part[part][held] = None
        self._stay(held)
        held.sessions[session] = None
        session.held = held
        return held

    def _stay(self, held: HeldClass) -> None:
        """Let a class retire no more of itself."""
        self._retiring.pop(held, None)
        if held.retiring is not None:
            held.retiring.cancel()
            held.retiring = None

    def _leave(self, session: Session) -> None:
        held, session.held = session.held, None
        if held is None:
            return
        held.sessions.pop(session, None)
        if held.sessions or held.retiring is not None:
            return
        if held.snapshot is not None:
            held.retiring = asyncio.get_running_loop().call_later(KEEP_SECONDS, self.retire, held)
            self._retiring[held] = None
            if len(self._retiring) > MOST_KEPT:
                self.retire(next(iter(self._retiring)))
        else:
            self.retire(held)

    def _reclassify(self, session: Session) -> bool:
        """Move a session to the class that its proxy has now; where that fails (our bug) it keeps the one it has."""
        outcome = self._registry.memo.outcome(classify, session.proxy)
        if outcome.failure:
            log.error("compiler.classify_failed", proxy=session.proxy.id, reason=outcome.failure)
            return False
        if outcome.value == session.proxy_class:
            return False
        before = session.held
        self._join(session, outcome.value)
        if before is not None:
            before.sessions.pop(session, None)
            if not before.sessions:
                self.retire(before)
        return True

    def _bring_up(self, held: HeldClass) -> Iterator[None]:
        """Settle a class's parts and publish it; stops where the last of its sessions leaves."""
        while held.sessions and not held.current:
            for part in held.parts:
                yield from self.parts.settle(part)
                if self.parts.replaced(part):
                    for other in self._of_part.get(part, ()):
                        other.outdated.add(part.part.type)
            settled = held.sessions and all(part.settled for part in held.parts)
            if settled and (held.outdated or held.snapshot is None):
                self._publish(held)
                yield
        for session in tuple(held.sessions):
            if held.snapshot is not None and session.snapshot is not held.snapshot:
                self._tell(session, held.snapshot)

    def _publish(self, held: HeldClass) -> None:
        held.snapshot = self._assembler.assembled(held.parts, held.snapshot, held.outdated, self._registry.revision)
        held.outdated.clear()
        for session in held.sessions:
            self._tell(session, held.snapshot)

    def _tell(self, session: Session, snapshot: Snapshot) -> None:
        first, session.served, session.snapshot = not session.served, True, snapshot
        if first:
            return
        try:
            session.changed()
        except Exception:  # the other proxies are told all the same
            log.exception("compiler.session_failed", proxy=session.proxy.id)
