"""Registers machines that Kubernetes does not run: each that connects gets a WorkloadEntry, which goes after it.

A machine's proxy names its WorkloadGroup (node metadata ``AUTO_REGISTER_GROUP``), or a WorkloadEntry that somebody has
written (``WORKLOAD_ENTRY``), which is never removed. What it says of its health becomes the condition ``Healthy``; of
an entry that somebody has written only where its annotation ``HEALTH_CHECKS`` asks for it. Either has to be its own.
The replica that a machine is connected to writes; the leader removes what is left (``sweep``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from kubernetes.aio.client import ApiClient

from controlplane.controllers.rate import Rate
from controlplane.controllers.stored_entries import FAILURES, StoredEntries, annotations_of, reason_of
from controlplane.controllers.work_queue import WorkQueue
from controlplane.controllers.workload_entries import (
    CONNECTED,
    CONTROLLER,
    DISCONNECTED,
    GROUP,
    condition,
    entry_name,
    entry_of,
    is_due,
    takes_health,
    without_health,
    written_time,
)
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.registry.networks import unusable

_TIMEOUT = 10  # seconds
_WRITES_PER_SECOND, _WRITES_AT_ONCE = 20.0, 20
log = structlog.get_logger(__name__)


class RegistrationError(Exception):
    """A machine is not registered; the text says why. ``temporary`` where it may be later.

    ``limit`` is the name of the limit that its identity has run into, empty where it is none.
    """

    def __init__(self, reason: str, *, temporary: bool = False, limit: str = "") -> None:
        super().__init__(reason)
        self.temporary, self.limit = temporary, limit


@dataclass(frozen=True, slots=True)
class RegistrationOptions:
    """``grace`` is how long an entry stays after its machine has left, ``max_age`` how old a connection may be.

    ``most`` is how many entries one identity may have registered here. ``place`` lets so many register at a time, each
    identity in its turn; it may refuse by an error of its own.
    """

    most: int
    registers: bool = True
    tells_health: bool = True
    proves_identity: bool = True
    grace: timedelta = timedelta(seconds=10)
    max_age: timedelta = timedelta(minutes=30)
    place: Callable[[str], AbstractAsyncContextManager[None]] = lambda _identity: nullcontext()


class _Caller(NamedTuple):
    """What somebody has proved to be; a namespace of ``None`` is nothing."""

    namespace: str | None
    service_account: str


@dataclass(slots=True)
class _Machine:
    """One machine that is, or was, connected here; ``problem`` is ``None`` while nothing is known of its health."""

    key: ObjectKey
    registered: bool
    streams: int = 0
    connected: str = ""
    left: str = ""
    problem: str | None = None
    told: str | None = None
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        """What it is known by: who only names an entry is another than who has registered it."""
        return _name(self.key, registered=self.registered)


class AutoRegistration:
    """Writes the entries of the machines that are connected here. ``identity`` is the name of this replica.

    ``find`` returns an object that is in force.
    """

    def __init__(
        self,
        client: ApiClient,
        find: Callable[[ObjectKey], Object | None],
        identity: str,
        options: RegistrationOptions,
    ) -> None:
        self._stored = StoredEntries(client)
        self._find = find
        self._identity = identity
        self._options = options
        self._machines: dict[str, _Machine] = {}
        self._streams: dict[int, tuple[Proxy, _Machine]] = {}  # by the identity of what is beside it
        self._entries: dict[str, set[ObjectKey]] = {}  # by who has registered them; some may be gone
        self._queue = WorkQueue(self._right)

    async def joined(self, proxy: Proxy, namespace: str | None, service_account: str) -> None:
        """Register the machine of a stream that begins; of others than machines nothing is done.

        ``namespace`` and ``service_account`` are what the caller has proved, ``None`` where nobody has.

        Raises:
            RegistrationError: it may not, its group is unknown, or the API server does not take it.
        """
        place = self._place(proxy)
        if place is None:
            return
        key, group_name = place
        caller = _Caller(namespace, service_account)
        if not group_name:
            if self._may_tell(proxy, key, caller):
                self._note(proxy, key, registered=False)
            return
        group = self._group(proxy, group_name)
        self._check(proxy, caller, group, group.spec.template.service_account)
        if word := unusable(proxy.ips[0]):
            raise _failed(proxy, f"its address {proxy.ips[0]} is {word}, which no other machine reaches it by")
        identity = f"{namespace or proxy.namespace}/{service_account}"
        self._count(proxy, key, identity)
        machine = self._note(proxy, key, registered=True)
        machine.connected, machine.left = written_time(datetime.now(UTC)), ""
        try:
            async with asyncio.timeout(_TIMEOUT), machine.writing, self._options.place(identity):
                await self._register(machine, group, proxy)
        except FAILURES as error:
            self.left(proxy)
            raise _failed(proxy, reason_of(error), temporary=True) from error
        except BaseException:  # refused, or the stream was cut meanwhile
            self.left(proxy)
            raise

    def left(self, proxy: Proxy) -> None:
        """Note that a stream has ended which had joined; it is known by the very object that it joined with."""
        _, machine = self._streams.pop(id(proxy), (None, None))
        if machine is None:
            return
        machine.streams -= 1
        if machine.streams <= 0:
            machine.left = written_time(datetime.now(UTC))
            self._queue.add(machine.name)

    def told_health(self, proxy: Proxy, problem: str) -> None:
        """Note what a machine that has joined says of its workload: what is wrong, or nothing."""
        _, machine = self._streams.get(id(proxy), (None, None))
        if machine is not None and self._options.tells_health:
            machine.problem = problem
            self._queue.add(machine.name)

    async def run(self) -> None:
        """Write what is to be written until cancelled; what cannot be is tried again, later each time."""
        self._queue.add(*self._machines)
        await self._queue.run()

    async def sweep(self, entries: Callable[[], list[Object]]) -> None:
        """Remove entries whose machine is gone, again and again until cancelled; for the leader alone."""
        rate = Rate(_WRITES_PER_SECOND, _WRITES_AT_ONCE)
        while True:
            for obj in entries():
                if self._is_due(obj.meta.annotations):
                    await rate.take()
                    await self._remove(obj.key)
            await asyncio.sleep(self._options.grace.total_seconds())

    def _place(self, proxy: Proxy) -> tuple[ObjectKey, str] | None:
        """Return the entry of a machine and the name of its group, which is empty where the entry is not ours."""
        group, entry = (proxy.metadata.get(name) for name in ("AUTO_REGISTER_GROUP", "WORKLOAD_ENTRY"))
        if isinstance(group, str) and group and self._options.registers:
            return ObjectKey(kinds.WORKLOAD_ENTRY, proxy.namespace, entry_name(group, proxy)), group
        if isinstance(entry, str) and entry:
            return ObjectKey(kinds.WORKLOAD_ENTRY, proxy.namespace, entry), ""
        return None

    def _note(self, proxy: Proxy, key: ObjectKey, *, registered: bool) -> _Machine:
        """Note a stream of a machine, and return the machine."""
        machine = self._machines.setdefault(_name(key, registered=registered), _Machine(key, registered))
        machine.streams += 1
        self._streams[id(proxy)] = proxy, machine
        return machine

    def _may_tell(self, proxy: Proxy, key: ObjectKey, caller: _Caller) -> bool:
        """Whether an entry that is named has its health told. Raises ``RegistrationError`` where it is another's."""
        entry = self._find(key)
        name = f"{key.namespace}/{key.name}"
        if entry is None:
            raise _failed(proxy, f"cannot find WorkloadEntry {name}")
        if entry.meta.annotations.get(GROUP):
            raise _failed(proxy, f"WorkloadEntry {name} is of a machine that registers itself")
        if not takes_health(entry.meta.annotations):
            return False
        self._check(proxy, caller, entry, entry.spec.service_account)
        return True

    def _group(self, proxy: Proxy, name: str) -> Object:
        group = self._find(ObjectKey(kinds.WORKLOAD_GROUP, proxy.namespace, name))
        if group is None:
            raise _failed(proxy, f"cannot find WorkloadGroup {proxy.namespace}/{name}")
        return group

    def _check(self, proxy: Proxy, caller: _Caller, held: Object, wanted: str) -> None:
        """Let a machine be what it has proved to be: of a group or entry, and of the service account that it wants."""
        if not self._options.proves_identity:
            return
        if caller.namespace is None:
            raise _failed(proxy, "it has proved no identity, which a port with TLS asks for")
        if caller.namespace != held.meta.namespace or wanted not in {"", caller.service_account}:
            what = "entry" if held.kind == kinds.WORKLOAD_ENTRY else "group"
            belongs = f"{held.meta.namespace}/{wanted or 'any'}"
            raise _failed(
                proxy, f"its identity is {caller.namespace}/{caller.service_account}, the {what} is for {belongs}"
            )

    def _count(self, proxy: Proxy, key: ObjectKey, identity: str) -> None:
        """Count an entry as registered by an identity. Raises ``RegistrationError`` where it has too many."""
        held, most = self._entries.setdefault(identity, set()), self._options.most
        if key not in held and len(held) >= most:
            held.intersection_update([each for each in held if self._lasts(each)])
            if len(held) >= most:
                reason = f"{identity} has registered {most} machines here, and may not have more"
                raise RegistrationError(_text(proxy, reason), temporary=True, limit="max_machines_per_identity")
        held.add(key)

    def _lasts(self, key: ObjectKey) -> bool:
        """Whether a machine that registered itself is connected, or its entry is not removed yet."""
        entry = self._find(key)
        return _name(key, registered=True) in self._machines or (entry is not None and GROUP in entry.meta.annotations)

    async def _register(self, machine: _Machine, group: Object, proxy: Proxy) -> None:
        """Write that a machine is here. Raises what the client does, or ``RegistrationError``."""
        connection = {CONTROLLER: self._identity, CONNECTED: machine.connected}
        uid = await self._stored.uid_of_group(group.key)
        entry = entry_of(group, uid, proxy, connection)
        while not await self._stored.create(machine.key, entry):
            held = await self._stored.read(machine.key)
            if held is None:  # it went between the two
                continue
            if annotations_of(held).get(GROUP) != group.meta.name:
                name = f"{machine.key.namespace}/{machine.key.name}"
                raise _failed(proxy, f"there is a WorkloadEntry {name} already that is not of this group")
            if await self._stored.patch_unless_changed(held, {**connection, DISCONNECTED: None}):
                break
        log.info("auto_registration.connected", entry=str(machine.key), proxy=proxy.id)

    async def _right(self, name: str) -> bool:
        """Write what is known of a machine; return whether all of it is written."""
        machine = self._machines.get(name)
        if machine is None:
            return True
        try:
            async with asyncio.timeout(_TIMEOUT), machine.writing:
                if machine.streams > 0:
                    await self._write_health(machine)
                else:
                    await self._write_end(machine)
        except FAILURES as error:
            log.warning("auto_registration.not_written", entry=str(machine.key), reason=reason_of(error))
            return False
        return True

    async def _write_health(self, machine: _Machine) -> None:
        problem = machine.problem
        if problem is None or problem == machine.told:
            return
        held = await self._stored.read(machine.key)
        if held is not None and (machine.registered or takes_health(annotations_of(held))):
            conditions = condition(problem, held.get("status"), written_time(datetime.now(UTC)))
            await self._stored.patch(held, {"status": {"conditions": conditions}}, status=True)
            log.info("auto_registration.health", entry=str(machine.key), problem=problem)
        machine.told = problem

    async def _write_end(self, machine: _Machine) -> None:
        """Write that a machine has left, unless it is connected elsewhere by now."""
        held = await self._stored.read(machine.key)
        if held is not None and not machine.registered:
            if takes_health(annotations_of(held)):
                await self._stored.patch(
                    held, {"status": {"conditions": without_health(held.get("status"))}}, status=True
                )
        elif held is not None:
            said = annotations_of(held)
            if (said.get(CONTROLLER), said.get(CONNECTED)) == (self._identity, machine.connected):
                await self._stored.patch(
                    held, {"metadata": {"annotations": {DISCONNECTED: machine.left, CONNECTED: None}}}
                )
                log.info("auto_registration.disconnected", entry=str(machine.key))
        if machine.streams <= 0:
            self._machines.pop(machine.name, None)

    async def _remove(self, key: ObjectKey) -> None:
        """Remove an entry if it is still as the leader knows it."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                held = await self._stored.read(key)
                if held is None or not self._is_due(annotations_of(held)):
                    return
                if not await self._stored.remove(held):
                    return
        except FAILURES as error:
            log.warning("auto_registration.not_removed", entry=str(key), reason=reason_of(error))
            return
        log.info("auto_registration.removed", entry=str(key))

    def _is_due(self, annotations: Mapping[str, str]) -> bool:
        return is_due(annotations, datetime.now(UTC), self._options.grace, self._options.max_age)


def _failed(proxy: Proxy, reason: str, *, temporary: bool = False) -> RegistrationError:
    return RegistrationError(_text(proxy, reason), temporary=temporary)


def _text(proxy: Proxy, reason: str) -> str:
    return f"auto-registration WorkloadEntry of {proxy.id} failed: {reason}"


def _name(key: ObjectKey, *, registered: bool) -> str:
    return f"{key} {registered=}"
