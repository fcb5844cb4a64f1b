"""What the program is, as far as one writer of statuses is concerned, with the rights that it has in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from controlplane.controllers.leader import Leadership
from controlplane.controllers.status_writer import Counts
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.registry.store import Registry
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource
from tests.cluster.api_server import ApiServer
from tests.patience import PATIENCE_SECONDS, patience, until
from tests.watchers.kubernetes.following import FAST

SYSTEM, ACCOUNT = "istio-system", "istiod"
SETTLED_SECONDS = 0.5
TIMEOUT_SECONDS = PATIENCE_SECONDS


class Writer(Protocol):
    """Any of the writers."""

    @property
    def counts(self) -> Counts:
        """What it did."""

    async def run(self) -> None:
        """Write until cancelled."""


@dataclass
class Leader:
    """A source and a registry; ``writer`` writes what follows from them."""

    source: KubernetesSource
    changed: asyncio.Event
    writer: Writer
    registry: Registry
    batches: list[ChangeSet] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        """What the writer did."""
        return self.writer.counts

    def apply(self, changes: ChangeSet) -> None:
        """Put changes in force."""
        self.registry.memo.invalidate(self.registry.apply(changes))
        self.registry.memo.collect()
        self.source.statuses.send()

    async def follow(self) -> None:
        """Put changes in force for ever."""
        async for changes in self.source.changes():
            self.batches.append(changes)
            self.apply(changes)

    async def settled(self, written: int = 0) -> None:
        """Wait until so much has been written, and then nothing for a while."""
        await until(lambda: self.counts.written >= written, f"{written} were written")
        async with patience():
            before = -1
            while before != self.counts.written or self.changed.is_set():
                before = self.counts.written
                await asyncio.sleep(SETTLED_SECONDS)


NewWriter = Callable[[ApiClient, Registry, KubernetesSource, asyncio.Event], Writer]


@asynccontextmanager
async def leading(
    cluster: ApiServer, folder: Path, new_writer: NewWriter, lease: tuple[str, str] | None = None
) -> AsyncIterator[Leader]:
    """Run a writer with the rights of the control plane's service account.

    With a ``lease`` (its name, and an identity) it is a candidate, which writes only while it has it.
    """
    token = await asyncio.to_thread(cluster.kubectl, "-n", SYSTEM, "create", "token", ACCOUNT)
    path = str(cluster.write_kubeconfig(folder / "kubeconfig", token.strip()))
    source, registry = (
        KubernetesSource(ClusterOptions(kubeconfig=path), FAST),
        Registry(allocates=False, frontends=FRONTENDS),
    )
    async with await config.new_client_from_config(path) as client:
        with source.statuses.subscribe() as changed:
            leader = Leader(source, changed, new_writer(client, registry, source, changed), registry)
            async with patience():
                leader.apply(await source.load())
            work: Callable[[], Awaitable[None]] = leader.writer.run
            if lease is not None:
                work = Leadership(client, (SYSTEM, lease[0]), lease[1], work).run
            tasks = [asyncio.ensure_future(each()) for each in (leader.follow, work)]
            try:
                yield leader
                assert not any(task.done() for task in tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await source.close()
