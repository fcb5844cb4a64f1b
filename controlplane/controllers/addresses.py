"""Writes the automatic addresses of ServiceEntries to their status, from where every replica reads them.

Reference: Istio's controller of the same purpose. What a status holds stays; the next address follows the last one
given, so that one that was freed is not another host's at once. Who may have none any more loses them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from kubernetes.aio.client import ApiClient

from controlplane.apis.kinds import KINDS
from controlplane.controllers.json_patch import add, lock
from controlplane.controllers.status_writer import Counts, Pace, StatusWriter, Write
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.status import Received
from controlplane.registry.auto_addresses import (
    POOLS,
    AddressRequest,
    Pools,
    Slot,
    address_requests,
    allocated_hosts,
    assign,
    may_allocate,
)
from controlplane.registry.store import Registry

KIND = KINDS["ServiceEntry"]
Entries = tuple[tuple[str, str], ...]
"""What a status says: host name and address, by host in the order of ``spec.hosts``, IPv4 first."""


class Addresses:
    """Keeps ``status.addresses`` right while ``run`` runs, which may be cancelled and run again."""

    def __init__(
        self,
        client: ApiClient,
        registry: Registry,
        find: Callable[[ObjectKey], Received | None],
        changed: asyncio.Event,
        pace: Pace | None = None,
    ) -> None:
        """Prepare; ``find`` returns the newest version of a ServiceEntry, ``changed`` is set when one is another."""
        self._registry = registry
        self._writer = StatusWriter(client, _Plan(registry, find), changed, pace)

    @property
    def counts(self) -> Counts:
        """What was done since the start."""
        return self._writer.counts

    async def run(self) -> None:
        """Write what differs until cancelled; for the leader alone."""
        self._registry.memo.keep(address_requests, ())
        try:
            await self._writer.run()
        finally:
            self._registry.memo.release(address_requests, ())


class _Plan:
    """The addresses that should stand there. What was assigned is remembered until its status is known to hold it."""

    def __init__(self, registry: Registry, find: Callable[[ObjectKey], Received | None]) -> None:
        self.find = find
        self._registry = registry
        self._pools = Pools()
        self._requests: tuple[AddressRequest, ...] | None = None
        self._assigned: dict[Slot, str] = {}
        self._known: dict[ObjectKey, tuple[Object, Entries]] = {}

    def candidates(self) -> Iterator[Received]:
        """Yield every ServiceEntry."""
        for key in self._registry.keys(kinds.SERVICE_ENTRY):
            if (received := self.find(key)) is not None:
                yield received

    def write(self, received: Received) -> Write | None:
        """Return what makes the addresses right; nothing while the newest version has not come into force."""
        obj = self._registry.objects.get(received.key)
        if obj is None or received.problems or obj.meta.generation != received.generation:
            return None
        wanted, written = self._entries(obj), received.written
        if wanted == written.allocated or set(wanted) == set(written.allocated):
            return None
        values = [{"host": host, "value": address} for host, address in wanted]
        change = add("/status/addresses", values) if written.exists else add("/status", {"addresses": values})
        what = ", ".join(address for _, address in wanted) or "none"
        return Write((KIND.group, KIND.plural), [lock(received.resource_version), change], what)

    def _entries(self, obj: Object) -> Entries:
        """Return what the status should say; it is worked out once for each object and assignment."""
        if not may_allocate(obj):
            return ()
        self._assign()
        known = self._known.get(obj.key)
        if known is None or known[0] is not obj:
            known = self._known[obj.key] = obj, self._new_entries(obj)
        return known[1]

    def _new_entries(self, obj: Object) -> Entries:
        spelled: dict[str, str] = {}
        for host in allocated_hosts(obj.spec):
            spelled.setdefault(host.lower(), host)
        return tuple(
            (spelling, address)
            for host, spelling in spelled.items()
            for pool in POOLS
            if (address := self._assigned.get((obj.key, host, pool.version))) is not None
        )

    def _assign(self) -> None:
        """Assign anew where a address request is another."""
        now = self._registry.memo.get(address_requests, ())
        if now is not self._requests:
            self._requests, self._assigned = now, assign(now, self._assigned, self._pools)
            self._known.clear()
