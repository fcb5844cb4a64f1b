"""The incremental compiler: the one owner of what is derived from the registry, and the only one to do long work.

Changes and new sessions are taken one after the other, by one task that lives while there is work. It works in steps
and yields to the event loop between them; commands that come meanwhile (a session closes, a class retires) are done at
once, and the next step finds what they left. A change goes before new sessions. These get as much time, after it, as it
took: changes that follow each other do not keep them out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, TypeVar

import structlog

from controlplane.compiler.classes import Classes, ClassificationError, Session
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType

log = structlog.get_logger(__name__)

T = TypeVar("T")

SLICE_SECONDS = 0.01
"""How long the loop may be held before others get a turn."""
_COLLECTED_AT_ONCE = 500


class Compiler:
    """All snapshots of one registry, kept up to date by building exactly what a change made different."""

    def __init__(self, registry: Registry, *, slice_seconds: float = SLICE_SECONDS) -> None:
        """Begin with no session; ``slice_seconds`` of 0 yields after each step."""
        self.registry = registry
        self._classes = Classes(registry, self._wake)
        self._slice_seconds = slice_seconds
        self._changes: deque[tuple[ChangeSet, asyncio.Future[bool]]] = deque()
        self._entering: dict[Session, asyncio.Future[None]] = {}
        self._looks: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._turn = 0.0
        self._theirs_until = 0.0  # new sessions go before changes until then
        self._broken = False  # an error of ours: what is derived cannot be trusted
        self.settled = registry.revision
        """The registry's revision up to which every snapshot is published; it is behind while a change is worked on."""

    @property
    def builds(self) -> int:
        """How many targets were built so far, each time counted: what a change costs."""
        return self._classes.parts.builds

    @property
    def target_count(self) -> int:
        """How many different targets the classes hold."""
        return self._classes.parts.target_count

    @property
    def class_count(self) -> int:
        """How many proxy classes have a snapshot."""
        return len(self._classes)

    async def open(self, proxy: Proxy, changed: Callable[[], None]) -> Session:
        """Return a session with its first snapshot; ``changed`` is called after each later one.

        Cancelled, it leaves nothing behind, and what only it wanted is built no further.

        Raises:
            ClassificationError: what the proxy is cannot be found out (our bug).
        """
        session = self._classes.enter(proxy, changed)
        if not self._broken and self._classes.serve(session):
            return session
        admitted = self._entering[session] = asyncio.get_running_loop().create_future()
        self._wake()
        try:
            await admitted
        except BaseException:
            self._entering.pop(session, None)
            session.close()
            raise
        return session

    async def apply(self, changes: ChangeSet) -> bool:
        """Store a change set and bring every snapshot up to date; return whether anything in the registry changed.

        An error of ours on the way is logged; everything is then made from scratch.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._changes.append((changes, done))
        self._wake()
        return await done

    async def between_changes(self, look: Callable[[], T]) -> T:
        """Return what ``look`` does, which is called between two changes: each snapshot is what the registry says then.

        It must take a moment only; what it raises is raised here.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._looks.append((look, done))
        self._wake()
        return await done

    def copied(self) -> None:
        """Make this the compiler of a process of its own, which was forked off by ``between_changes``.

        Nobody is told of its snapshots, and what was waiting goes on in the process that it was copied from.
        """
        self._task, self._theirs_until = None, 0.0
        self._changes.clear()
        self._entering.clear()
        self._looks.clear()
        self._classes.hush()

    def behind(self, proxy: Proxy, type_: ResourceType, name: str) -> Iterator[ObjectKey | None]:
        """Yield the objects that a resource of this proxy was made from: see ``Classes.behind``."""
        return self._classes.behind(proxy, type_, name)

    def _wake(self) -> None:
        """See to it that somebody works."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        self._turn = perf_counter()
        try:
            while True:
                if self._looks:
                    self._look(*self._looks.popleft())
                elif self._due():
                    await self._change(*self._changes.popleft())
                elif self._entering:
                    await self._admit(next(iter(self._entering)))
                elif self._collected():
                    return
                await self._mend()
                await self._breathe()
        finally:
            self._task = None

    async def _change(self, changes: ChangeSet, done: asyncio.Future[bool]) -> None:
        began, changed = perf_counter(), True
        try:
            facts = self.registry.apply(changes)
            changed = bool(facts)
            if changed:
                await self._do(self._classes.update(self.registry.memo.invalidate(facts)))
        except Exception:  # our bug: no change may end the process or keep the next one out
            log.exception("compiler.update_failed", revision=self.registry.revision)
            self._broken = True
            await self._mend()
        self.settled = self.registry.revision
        now = perf_counter()
        self._theirs_until = now + (now - began)
        if not done.done():
            done.set_result(changed)

    @staticmethod
    def _look(look: Callable[[], Any], done: asyncio.Future[Any]) -> None:
        if done.done():
            return  # nobody waits for it any more
        try:
            done.set_result(look())
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            done.set_exception(error)

    async def _admit(self, session: Session) -> None:
        admitted = self._entering[session]
        error: Exception | None = None
        try:
            finished = await self._do(self._classes.admit(session), until=self._due)
        except ClassificationError as reason:
            finished, error = True, reason
        except Exception as reason:  # our bug: it costs this session
            log.exception("compiler.open_failed", proxy=session.proxy.id)
            finished, error, self._broken = True, reason, True
        if not finished:
            return
        self._entering.pop(session, None)
        if admitted.done():
            return
        if error is not None:
            admitted.set_exception(error)
        else:
            admitted.set_result(None)

    def _due(self) -> bool:
        """Whether it is a change's turn."""
        return bool(self._changes) and (not self._entering or perf_counter() >= self._theirs_until)

    def _collected(self) -> bool:
        """Let the memo forget some of what nobody reads any more; return whether that was all."""
        try:
            return self.registry.memo.collect(_COLLECTED_AT_ONCE)
        except Exception:  # our bug
            log.exception("compiler.collect_failed")
            self._broken = True
            return False

    async def _mend(self) -> None:
        """Make everything from scratch after an error; where that fails too, again with the next change."""
        if not self._broken:
            return
        try:
            await self._do(self._classes.rebuild())
            self._broken = False
        except Exception:  # sessions keep the snapshots they have
            log.exception("compiler.rebuild_failed", revision=self.registry.revision)

    async def _do(self, steps: Iterator[None], until: Callable[[], bool] | None = None) -> bool:
        """Take steps, with breaks for others, until they end or ``until`` says so; return whether they ended."""
        for _ in steps:
            if perf_counter() - self._turn > self._slice_seconds:
                await self._breathe()
            if until is not None and until():
                return False
        return True

    async def _breathe(self) -> None:
        if perf_counter() - self._turn > self._slice_seconds:
            await asyncio.sleep(0)
            self._turn = perf_counter()


__all__ = ["Compiler", "Session"]
