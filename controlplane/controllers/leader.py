"""Leader election by Lease.

The client library's election is not used: it writes local time as UTC, ends with the first lost connection, and
does not give its lease back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CoordinationV1Api, V1Lease, V1LeaseSpec, V1ObjectMeta

from controlplane.controllers.ending import ended

log = structlog.get_logger(__name__)

ROOT_CERTIFICATES = "istio-namespace-controller-election"
"""The Lease of who writes the root certificate into namespaces."""
VALIDATOR = "istiod-{}-validator"
"""The Lease of who keeps the configuration of the validating webhook of a revision."""
STATUS = "istio-analyze-leader"
"""The Lease of who writes status conditions."""
EVENTS = "controlplane-events"
"""The Lease of who writes Events of problems."""
INGRESS = "istio-leader"
"""The Lease of who writes the status of Ingresses."""
MACHINES = "istio-workload-entry-cleanup"
"""The Lease of who removes the WorkloadEntries of machines that are gone."""
TAINTS = "istio-node-untaint"
"""The Lease of who takes the taint off nodes that have the CNI plugin."""
ADDRESSES = "istio-ip-autoallocate"
"""The Lease of who writes the automatic addresses of ServiceEntries."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """A lease that is not renewed for ``duration`` may be taken; its holder stops at ``deadline``, before that."""

    duration: timedelta = timedelta(seconds=30)
    deadline: timedelta = timedelta(seconds=15)
    retry: timedelta = timedelta(seconds=7.5)


class Leadership:
    """Competes for one Lease, and runs ``work`` while it has it: from then until the lease is lost, or ``run`` ends.

    A holder that cannot renew in time cancels its work before anybody else may take the lease, and one that finds
    another's name in it at once. When ``run`` is cancelled, or work ends by itself, the lease is given back, so that
    the next one has it at its next attempt. Whether another's lease has run out is judged by how long it has not
    changed, so that clocks need not agree.
    """

    def __init__(
        self, client: ApiClient, lease: tuple[str, str], identity: str, work: Callable[[], Awaitable[None]],
        times: LeaseTimes | None = None,
    ) -> None:  # fmt: skip
        """Prepare; ``lease`` is namespace and name, ``identity`` the name of this pod."""
        self._api = CoordinationV1Api(client)
        self._namespace, self._name = lease
        self._identity = identity
        self._work = work
        self._times = times or LeaseTimes()
        self._deadline = self._times.deadline.total_seconds()
        self._seen: tuple[object, float] = (None, 0.0)  # of another's lease: its record, and when it changed
        self._runs_out = 0.0  # when another's lease does, if it does not change
        self._claimed = False  # whether the lease may have this one's name
        self.leads = False
        """Whether this one has the lease."""
        self.holder = ""
        """Who had the lease when it was looked at last; empty while that is not known, or nobody has it."""

    async def run(self) -> None:
        """Compete until cancelled, or until work fails, also as it is ended: then with its failure."""
        work: asyncio.Future[None] | None = None
        renewed = 0.0
        try:
            while True:
                if await self._attempt():
                    renewed = time.monotonic()
                    if not self.leads:
                        log.info("leader.started", lease=self._name, identity=self._identity)
                        self.leads = True
                        work = asyncio.ensure_future(self._work())
                elif self.leads and (not self._claimed or time.monotonic() >= renewed + self._deadline):
                    log.warning("leader.lost", lease=self._name, identity=self._identity)
                    await self._end(work)
                await self._rest(self._pause(renewed), work if self.leads else None)
        finally:
            try:
                await self._end(work)
            finally:
                if self._claimed:
                    await self._release()

    def _pause(self, renewed: float) -> float:
        """Return the seconds until the next attempt: sooner where a lease runs out before that."""
        retry, now = self._times.retry.total_seconds(), time.monotonic()
        until = renewed + self._deadline if self.leads else self._runs_out
        return max(0.05, min(retry, until - now)) if self.leads or until > now else retry

    async def _rest(self, seconds: float, work: asyncio.Future[None] | None) -> None:
        """Wait, unless work ends meanwhile: then with its failure."""
        if work is None:
            await asyncio.sleep(seconds)
            return
        done, _ = await asyncio.wait([work], timeout=seconds)
        if done:
            work.result()
            raise RuntimeError(f"the work of the holder of {self._name} has ended by itself")

    async def _end(self, work: asyncio.Future[None] | None) -> None:
        """End work; raise what it fails with."""
        self.leads = False
        if self.holder == self._identity:
            self.holder = ""
        if work is not None:
            await ended(work)

    async def _attempt(self) -> bool:
        """Take or renew the lease; return whether this one has it now."""
        timeout = max(1.0, self._deadline / 3)
        try:
            async with asyncio.timeout(timeout):
                return await self._take()
        except ApiException as error:
            if error.status != HTTPStatus.CONFLICT:
                reason = f"{error.status} {error.reason}"
                log.warning("leader.attempt_failed", lease=f"{self._namespace}/{self._name}", reason=reason)
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.warning("leader.attempt_failed", lease=f"{self._namespace}/{self._name}", reason=reason)
        return False

    async def _take(self) -> bool:
        now = datetime.now(UTC)
        try:
            lease = await self._api.read_namespaced_lease(self._name, self._namespace)
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            spec = self._spec(now, now, 0)
            body = V1Lease(metadata=V1ObjectMeta(name=self._name), spec=spec)
            self._claimed = True
            await self._api.create_namespaced_lease(self._namespace, body)
            self.holder = self._identity
            return True
        spec = lease.spec or V1LeaseSpec()
        mine = spec.holder_identity == self._identity
        if spec.holder_identity and not mine and not self._run_out(spec):
            self._claimed, self.holder = False, spec.holder_identity
            return False
        transitions = (spec.lease_transitions or 0) + (not mine)
        lease.spec = self._spec(spec.acquire_time if mine and spec.acquire_time else now, now, transitions)
        self._claimed = True
        await self._api.replace_namespaced_lease(self._name, self._namespace, lease)
        self.holder = self._identity
        return True

    def _run_out(self, spec: V1LeaseSpec) -> bool:
        record = (spec.holder_identity, spec.renew_time, spec.lease_transitions)
        if self._seen[0] != record:
            self._seen = (record, time.monotonic())
        duration = spec.lease_duration_seconds or self._times.duration.total_seconds()
        self._runs_out = self._seen[1] + float(duration)
        return time.monotonic() >= self._runs_out

    def _spec(self, acquired: datetime, renewed: datetime, transitions: int) -> V1LeaseSpec:
        return V1LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=max(1, round(self._times.duration.total_seconds())),
            acquire_time=acquired,
            renew_time=renewed,
            lease_transitions=transitions,
        )

    async def _release(self) -> None:
        """Give the lease back. If that fails it runs out by itself."""
        try:
            async with asyncio.timeout(2):
                while not await self._given_back():
                    pass  # a renewal that was under way came in between
        except (ApiException, ClientError, OSError, TimeoutError) as error:
            log.warning("leader.release_failed", lease=self._name, reason=str(error) or type(error).__name__)

    async def _given_back(self) -> bool:
        """Take this one's name off the lease; return whether it is not there any more."""
        try:
            lease = await self._api.read_namespaced_lease(self._name, self._namespace)
            if lease.spec is not None and lease.spec.holder_identity == self._identity:
                lease.spec.holder_identity = ""
                lease.spec.lease_duration_seconds = 1
                await self._api.replace_namespaced_lease(self._name, self._namespace, lease)
                log.info("leader.released", lease=self._name, identity=self._identity)
        except ApiException as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return False
        return True
