"""Registers machines that Kubernetes does not run: each that connects gets a WorkloadEntry, which goes after it.

A machine's proxy names its WorkloadGroup (node metadata ``AUTO_REGISTER_GROUP``), or a WorkloadEntry that somebody has
written (``WORKLOAD_ENTRY``), which is never removed. What it says of its health becomes the condition ``Healthy``.
The replica that a machine is connected to writes; the leader removes what is left (``sweep``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CustomObjectsApi, V1DeleteOptions, V1Preconditions

from controlplane.apis.kinds import KINDS
from controlplane.controllers.rate import Rate
from controlplane.controllers.work_queue import WorkQueue
from controlplane.controllers.workload_entries import (
    CONNECTED,
    CONTROLLER,
    DISCONNECTED,
    GROUP,
    KIND,
    Json,
    condition,
    entry_name,
    entry_of,
    is_due,
    without_health,
    written_time,
)
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.proxy import Proxy

_TIMEOUT = 10  # seconds
_MERGE = "application/merge-patch+json"
_WRITES_PER_SECOND, _WRITES_AT_ONCE = 20.0, 20
_FAILURES = (ApiException, ClientError, OSError, TimeoutError)

log = structlog.get_logger(__name__)


class RegistrationError(Exception):
    """A machine is not registered; the text says why. ``temporary`` where it may be later."""

    def __init__(self, reason: str, *, temporary: bool = False) -> None:
        super().__init__(reason)
        self.temporary = temporary


@dataclass(frozen=True, slots=True)
class RegistrationOptions:
    """``grace`` is how long an entry stays after its machine has left, ``max_age`` how old a connection may be."""

    registers: bool = True
    tells_health: bool = True
    proves_identity: bool = True
    grace: timedelta = timedelta(seconds=10)
    max_age: timedelta = timedelta(minutes=30)


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


class AutoRegistration:
    """Writes the entries of the machines that are connected here. ``identity`` is the name of this replica.

    ``find`` returns an object that is in force.
    """

    def __init__(
        self,
        client: ApiClient,
        find: Callable[[ObjectKey], Object | None],
        identity: str,
        options: RegistrationOptions | None = None,
    ) -> None:
        self._api = CustomObjectsApi(client)
        self._find = find
        self._identity = identity
        self._options = options or RegistrationOptions()
        self._machines: dict[str, _Machine] = {}
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
        group = self._group(proxy, key, group_name)
        if group is not None:
            self._check(proxy, group, namespace, service_account)
        machine = self._machines.setdefault(str(key), _Machine(key, registered=group is not None))
        machine.streams += 1
        if group is None:
            return
        machine.connected, machine.left = written_time(datetime.now(UTC)), ""
        try:
            async with machine.writing, asyncio.timeout(_TIMEOUT):
                await self._register(machine, group, proxy)
        except _FAILURES as error:
            self.left(proxy)
            raise _failed(proxy, _reason(error), temporary=True) from error
        except BaseException:  # refused, or the stream was cut meanwhile
            self.left(proxy)
            raise

    def left(self, proxy: Proxy) -> None:
        """Note that a stream has ended which had joined."""
        machine = self._machine(proxy)
        if machine is None:
            return
        machine.streams -= 1
        if machine.streams <= 0:
            machine.left = written_time(datetime.now(UTC))
            self._queue.add(str(machine.key))

    def told_health(self, proxy: Proxy, problem: str) -> None:
        """Note what a machine says of its workload: what is wrong, or nothing."""
        machine = self._machine(proxy)
        if machine is not None and self._options.tells_health:
            machine.problem = problem
            self._queue.add(str(machine.key))

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

    def _machine(self, proxy: Proxy) -> _Machine | None:
        place = self._place(proxy)
        return self._machines.get(str(place[0])) if place is not None else None

    def _group(self, proxy: Proxy, key: ObjectKey, name: str) -> Object | None:
        """Return the group that is named, ``None`` where none is. Raises ``RegistrationError``."""
        if not name:
            if self._find(key) is None:
                raise _failed(proxy, f"cannot find WorkloadEntry {key.namespace}/{key.name}")
            return None
        group = self._find(ObjectKey(kinds.WORKLOAD_GROUP, proxy.namespace, name))
        if group is None:
            raise _failed(proxy, f"cannot find WorkloadGroup {proxy.namespace}/{name}")
        return group

    def _check(self, proxy: Proxy, group: Object, namespace: str | None, service_account: str) -> None:
        """Let a machine be what it has proved to be. Raises ``RegistrationError``."""
        if not self._options.proves_identity:
            return
        if namespace is None:
            raise _failed(proxy, "it has proved no identity, which a port with TLS asks for")
        wanted = group.spec.template.service_account
        if namespace != group.meta.namespace or wanted not in {"", service_account}:
            belongs = f"{group.meta.namespace}/{wanted or 'any'}"
            raise _failed(proxy, f"its identity is {namespace}/{service_account}, the group is for {belongs}")

    async def _register(self, machine: _Machine, group: Object, proxy: Proxy) -> None:
        """Write that a machine is here. Raises what the client does, or ``RegistrationError``."""
        group_kind = KINDS["WorkloadGroup"]
        found = await self._api.get_namespaced_custom_object(
            group_kind.group, group_kind.versions[0], group.meta.namespace, group_kind.plural, group.meta.name
        )
        connection = {CONTROLLER: self._identity, CONNECTED: machine.connected}
        entry = entry_of(group, found["metadata"]["uid"], proxy, connection)
        try:
            await self._api.create_namespaced_custom_object(
                KIND.group, KIND.versions[0], machine.key.namespace, KIND.plural, entry
            )
        except ApiException as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            held = await self._read(machine.key)
            if held is None or _annotations(held).get(GROUP) != group.meta.name:
                name = f"{machine.key.namespace}/{machine.key.name}"
                raise _failed(proxy, f"there is a WorkloadEntry {name} already that is not of this group") from error
            await self._patch(held, {"metadata": {"annotations": {**connection, DISCONNECTED: None}}})
        log.info("auto_registration.connected", entry=str(machine.key), proxy=proxy.id)

    async def _right(self, name: str) -> bool:
        """Write what is known of a machine; return whether all of it is written."""
        machine = self._machines.get(name)
        if machine is None:
            return True
        try:
            async with machine.writing, asyncio.timeout(_TIMEOUT):
                if machine.streams > 0:
                    await self._write_health(machine)
                else:
                    await self._write_end(machine)
        except _FAILURES as error:
            log.warning("auto_registration.not_written", entry=str(machine.key), reason=_reason(error))
            return False
        return True

    async def _write_health(self, machine: _Machine) -> None:
        problem = machine.problem
        if problem is None or problem == machine.told:
            return
        held = await self._read(machine.key)
        if held is not None:
            conditions = condition(problem, held.get("status"), written_time(datetime.now(UTC)))
            await self._patch(held, {"status": {"conditions": conditions}}, status=True)
            log.info("auto_registration.health", entry=str(machine.key), problem=problem)
        machine.told = problem

    async def _write_end(self, machine: _Machine) -> None:
        """Write that a machine has left, unless it is connected elsewhere by now."""
        held = await self._read(machine.key)
        if held is not None and not machine.registered:
            await self._patch(held, {"status": {"conditions": without_health(held.get("status"))}}, status=True)
        elif held is not None:
            said = _annotations(held)
            if (said.get(CONTROLLER), said.get(CONNECTED)) == (self._identity, machine.connected):
                await self._patch(held, {"metadata": {"annotations": {DISCONNECTED: machine.left, CONNECTED: None}}})
                log.info("auto_registration.disconnected", entry=str(machine.key))
        if machine.streams <= 0:
            self._machines.pop(str(machine.key), None)

    async def _remove(self, key: ObjectKey) -> None:
        """Remove an entry if it is still as the leader knows it."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                held = await self._read(key)
                if held is None or not self._is_due(_annotations(held)):
                    return
                version = held["metadata"]["resourceVersion"]
                await self._api.delete_namespaced_custom_object(
                    KIND.group,
                    KIND.versions[0],
                    key.namespace,
                    KIND.plural,
                    key.name,
                    body=V1DeleteOptions(preconditions=V1Preconditions(resource_version=version)),
                )
        except _FAILURES as error:
            if not (isinstance(error, ApiException) and error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}):
                log.warning("auto_registration.not_removed", entry=str(key), reason=_reason(error))
            return
        log.info("auto_registration.removed", entry=str(key))

    def _is_due(self, annotations: Mapping[str, str]) -> bool:
        return is_due(annotations, datetime.now(UTC), self._options.grace, self._options.max_age)

    async def _read(self, key: ObjectKey) -> Json | None:
        try:
            found: Json = await self._api.get_namespaced_custom_object(
                KIND.group, KIND.versions[0], key.namespace, KIND.plural, key.name
            )
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None
        return found

    async def _patch(self, held: Json, change: Json, *, status: bool = False) -> None:
        """Change an entry that is still as it was read (409 otherwise)."""
        metadata = held["metadata"]
        version = {"resourceVersion": metadata["resourceVersion"]}
        body = {**change, "metadata": {**change.get("metadata", {}), **version}}
        patch = self._api.patch_namespaced_custom_object_status if status else self._api.patch_namespaced_custom_object
        await patch(
            KIND.group,
            KIND.versions[0],
            metadata["namespace"],
            KIND.plural,
            metadata["name"],
            body,
            _content_type=_MERGE,
        )


def _failed(proxy: Proxy, reason: str, *, temporary: bool = False) -> RegistrationError:
    return RegistrationError(f"auto-registration WorkloadEntry of {proxy.id} failed: {reason}", temporary=temporary)


def _annotations(obj: Json) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}


def _reason(error: BaseException) -> str:
    if isinstance(error, ApiException):
        return f"{error.status} {error.reason}"
    return str(error) or type(error).__name__
