"""A source that is followed into a compiler, as the program does, and what that should hold in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from controlplane.compiler.compiler import Compiler, Session
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource
from controlplane.watchers.kubernetes.timing import Timing
from tests.kinds import kind_of
from tests.patience import PATIENCE_SECONDS, patience

FAST = Timing(
    first_pause=0.02, longest_pause=0.2, forbidden=0.2, connect=2, answer=5, silence=20, discovery=0.05, settled=0.0
)
WAIT_SECONDS = PATIENCE_SECONDS
PROXY = Proxy("sidecar", "client.red", ("10.9.0.1",), "red", "red.svc.cluster.local")
Contents = Mapping[ResourceType, Mapping[str, bytes]]


class Followed:
    """A running source: ``compiler`` was told all that it said, ``batches`` are the change sets after the first list.

    One proxy is connected.
    """

    def __init__(self, source: KubernetesSource) -> None:
        self.source = source
        self.compiler = Compiler(Registry())
        self.batches: list[ChangeSet] = []
        self._changed = asyncio.Event()
        self._session: Session

    @property
    def objects(self) -> Mapping[ObjectKey, Object]:
        """What is in force."""
        return self.compiler.registry.objects

    @property
    def contents(self) -> Contents:
        """What the proxy is served, in bytes."""
        return contents(self._session)

    def has(self, kind: str, name: str, namespace: str = "shop") -> bool:
        """Whether an object is in force."""
        return ObjectKey(kind_of(kind), namespace, name) in self.objects

    def named(self, kind: str) -> list[str]:
        """Return the names of the objects of a kind."""
        return [key.name for key in self.compiler.registry.keys(kind_of(kind))]

    async def load(self) -> None:
        """Take the first list, and connect the proxy."""
        await self.compiler.apply(await self.source.load())
        self._session = await self.compiler.open(PROXY, lambda: None)

    async def follow(self) -> None:
        """Apply changes for ever."""
        async for changes in self.source.changes():
            self.batches.append(changes)
            await self.compiler.apply(changes)
            self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to be true of what is in force, or of anything else that soon changes."""
        async with patience():
            while not condition():
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._changed.wait()


@asynccontextmanager
async def followed(options: ClusterOptions, timing: Timing = FAST) -> AsyncIterator[Followed]:
    """Load a source and follow it; it is an error when it ends by itself."""
    source = KubernetesSource(options, timing)
    follower = Followed(source)
    async with patience():
        await follower.load()
    task = asyncio.create_task(follower.follow())
    try:
        yield follower
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await source.close()


async def fresh(options: ClusterOptions, timing: Timing = FAST) -> Mapping[ObjectKey, Object]:
    """Return what a source that starts now has in its first list."""
    source = KubernetesSource(options, timing)
    try:
        async with patience():
            return {obj.key: obj for obj in (await source.load()).upserts}
    finally:
        await source.close()


async def compiled(objects: Mapping[ObjectKey, Object]) -> Contents:
    """Return what the proxy is served by a control plane that starts now, with these objects."""
    compiler = Compiler(Registry())
    await compiler.apply(ChangeSet(upserts=tuple(objects.values())))
    return contents(await compiler.open(PROXY, lambda: None))


def contents(session: Session) -> Contents:
    """Return the bytes of a snapshot."""
    return {
        type_: {name: resource.body for name, resource in resources.items()}
        for type_, resources in session.snapshot.resources.items()
    }
