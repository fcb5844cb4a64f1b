"""Kubernetes Events: whoever looks at an object with ``kubectl describe`` reads what is wrong with it. For the leader.

There is one Event for each problem of each object, whose name is made of both, so that a new leader writes no second
one: it says that the problem is still there. Kubernetes forgets Events after an hour; a problem that lasts is told of
in the condition of its object, and only what begins or comes again is told here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api

from controlplane.analysis.codes import ALL_CODES, Level
from controlplane.backoff import Backoff
from controlplane.controllers.rate import Rate
from controlplane.model.objects import ObjectKey
from controlplane.model.problems import Problem, Sort
from controlplane.model.status import Received

log = structlog.get_logger(__name__)

COMPONENT = "controlplane"
"""Who tells, as Events say it."""
LONGEST_MESSAGE = 1024
"""In characters; Kubernetes takes no more."""
_LONGEST_NAME = 200
_ANSWER_SECONDS = 10
_BUSY_SECONDS = 0.005
"""How long a look at all problems works before it lets others."""
_REST = 10
"""How many times as long as such a look the next one waits: one object may have hundreds of problems."""
_NO_NAMESPACE = "default"
"""Where Kubernetes keeps Events of objects that have no namespace."""
_NAMES = {code.id: code.name for code in ALL_CODES}
_REASONS = {Sort.REFUSED: "Rejected", Sort.LEFT_OUT: "LeftOut", Sort.FINDING: "Finding", Sort.WARNING: "Warning"}

_Mark = tuple[ObjectKey, str, str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What Events are made of: every problem there is, and the newest version of an object of the cluster.

    ``changed`` is set whenever a problem may have come or gone; it is cleared here.
    """

    problems: Callable[[], Iterable[Problem]]
    find: Callable[[ObjectKey], Received | None]
    changed: asyncio.Event


class ObjectEvents:
    """Writes an Event for each problem that begins, while ``run`` runs, which may be cancelled and run again.

    At most five are written in a second, after a quiet time up to fifty at once. What the API server refuses is logged
    and not tried again before the problem has gone and come back; while it is away all wait. Namespaces take turns, so
    that none keeps the others from being told of by having many problems, or ever new ones.
    """

    def __init__(
        self, client: ApiClient, told: Told, *, rate: Rate | None = None, backoff: Backoff | None = None
    ) -> None:
        self._api = CoreV1Api(client)
        self._told = told
        self._rate = rate or Rate(5.0, 50)
        self._backoff = backoff or Backoff(0.5, 30.0)

    async def run(self) -> None:
        """Write until cancelled; for the leader alone."""
        loop = asyncio.get_running_loop()
        known: set[_Mark] = set()
        turns: Counter[str] = Counter()
        while True:
            self._told.changed.clear()
            begun = loop.time()
            known, new = await self._looked(known)
            due = begun + _REST * (loop.time() - begun)
            waiting = {namespace: iter(held.items()) for namespace, held in new.items()}
            while waiting:
                namespace = min(waiting, key=turns.__getitem__)
                if (first := next(waiting[namespace], None)) is None:
                    del waiting[namespace]
                    continue
                mark, problem = first
                await self._rate.take()
                await self._tell(problem)
                known.add(mark)
                turns[namespace] = max(turns.values(), default=0) + 1
                if self._told.changed.is_set() and loop.time() >= due:
                    break  # what has gone since is not told
            await self._told.changed.wait()
            await asyncio.sleep(due - loop.time())

    async def _looked(self, known: set[_Mark]) -> tuple[set[_Mark], dict[str, dict[_Mark, Problem]]]:
        """Return what of the known is still wrong, and what else is, by namespace; others have turns meanwhile."""
        loop = asyncio.get_running_loop()
        still: set[_Mark] = set()
        new: dict[str, dict[_Mark, Problem]] = {}
        busy_since = loop.time()
        for each in self._told.problems():
            if not each.key.cluster and each.key.name:
                mark = _mark(each)
                if mark in known:
                    still.add(mark)
                else:
                    new.setdefault(each.key.namespace, {})[mark] = each
            if loop.time() - busy_since > _BUSY_SECONDS:
                await asyncio.sleep(0)
                busy_since = loop.time()
        return still, new

    async def _tell(self, problem: Problem) -> None:
        """Write one Event; the API server being away is waited out."""
        event = event_of(problem, self._told.find(problem.key), datetime.now(UTC))
        while True:
            try:
                await self._write(event)
            except ApiException as error:
                if error.status < HTTPStatus.INTERNAL_SERVER_ERROR and error.status != HTTPStatus.TOO_MANY_REQUESTS:
                    log.warning("events.refused", object=str(problem.key), status=error.status, reason=error.reason)
                    return
                reason = str(error.reason)
            except (ClientError, OSError, TimeoutError) as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                self._backoff.reset()
                return
            if not self._backoff.failures:
                log.warning("events.waiting", reason=reason)
            await asyncio.sleep(self._backoff.pause())

    async def _write(self, event: Mapping[str, Any]) -> None:
        namespace = event["metadata"]["namespace"]
        try:
            await self._api.create_namespaced_event(namespace, event, _request_timeout=_ANSWER_SECONDS)
        except ApiException as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            again = {"lastTimestamp": event["lastTimestamp"], "message": event["message"]}
            await self._api.patch_namespaced_event(
                event["metadata"]["name"],
                namespace,
                again,
                _content_type="application/merge-patch+json",
                _request_timeout=_ANSWER_SECONDS,
            )


def event_of(problem: Problem, received: Received | None, now: datetime) -> dict[str, Any]:
    """Return the Event of a problem; ``received`` is its object as the cluster has it, as far as that is known."""
    key, time = problem.key, now.strftime("%Y-%m-%dT%H:%M:%SZ")
    about: dict[str, Any] = {"kind": key.kind.name, "namespace": key.namespace, "name": key.name}
    if received is not None:
        about |= {
            "apiVersion": f"{key.kind.group}/{received.version}" if key.kind.group else received.version,
            "uid": received.uid,
            "resourceVersion": received.resource_version,
        }
    if problem.path:
        about["fieldPath"] = problem.path
    text = f"{problem.path}: {problem.reason}" if problem.path else problem.reason
    code = f" [{problem.code}]" if problem.code else ""
    if len(text) + len(code) > LONGEST_MESSAGE:
        text = f"{text[: LONGEST_MESSAGE - len(code) - 4]} ..."
    digest = sha256("\0".join((about.get("uid", ""), *map(str, _mark(problem)))).encode()).hexdigest()[:16]
    return {
        "metadata": {
            "name": f"{key.name[:_LONGEST_NAME].rstrip('-.')}.{digest}",
            "namespace": key.namespace or _NO_NAMESPACE,
        },
        "involvedObject": {name: value for name, value in about.items() if value},
        "type": "Normal" if problem.level == Level.INFO else "Warning",
        "reason": _NAMES.get(problem.code) or _REASONS[problem.sort],
        "message": text + code,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


def _mark(problem: Problem) -> _Mark:
    return problem.key, problem.code or str(problem.sort), problem.path, problem.reason
