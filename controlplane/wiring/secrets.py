"""Joins what knows which Secrets matter with what reads them, and keeps those in force that are good.

A key pair or root certificates that Envoy would refuse, logins that nobody can read, or a certificate that has ended,
take the place of no good one.
What the clock has to do with is judged again when its time comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from controlplane import metrics
from controlplane.model import kinds
from controlplane.model.credentials import KeyPair
from controlplane.model.kubernetes import Secret
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.registry.credentials import wanted_places
from controlplane.registry.store import Registry

if TYPE_CHECKING:
    from controlplane.watchers.kubernetes.source import KubernetesSource

log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 5.0
"""Seconds that the first proxies wait for what a cluster has of Secrets."""
_LONGEST_WAIT = timedelta(hours=1)
"""Between two looks at the clock: it may be set."""


def _now() -> datetime:
    return datetime.now(UTC)


class Secrets:
    """Judges Secrets on their way into the registry; those that are in it are the last good ones."""

    def __init__(
        self,
        registry: Registry,
        add: Callable[[ChangeSet], None],
        cluster: KubernetesSource | None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Give changes to ``add``; have those read that are wanted where there is a cluster."""
        self._registry = registry
        self._add = add
        self._cluster = cluster
        self._clock = clock
        self._newest: dict[ObjectKey, Object] = {}
        self._judged_at = clock()
        self._news = asyncio.Event()
        registry.memo.keep(wanted_places, ())

    @property
    def unread(self) -> tuple[str, ...]:
        """Why Secrets that are wanted were not read, one sentence each."""
        return self._cluster.unread if self._cluster is not None else ()

    def checked(self, changes: ChangeSet) -> ChangeSet:
        """Return the changes with the last good parts of Secrets in place of parts that are no good."""
        for key in changes.deletes:
            self._newest.pop(key, None)
        if not any(obj.kind == kinds.SECRET for obj in changes.upserts):
            return changes
        self._news.set()
        return replace(changes, upserts=tuple(self._judged(obj) for obj in changes.upserts))

    def changed(self) -> None:
        """Look again what is wanted: objects changed."""
        if self._cluster is None:
            return
        places = self._registry.memo.get(wanted_places, ())
        secrets = {(place.namespace, place.name) for place in places if place.kind == kinds.SECRET}
        self._cluster.want(
            secrets, {(place.namespace, place.name) for place in places if place.kind == kinds.CONFIG_MAP}
        )

    async def first(self) -> ChangeSet:
        """Wait, not for long, for what is wanted now, and return it: no proxy should begin without its certificates."""
        if self._cluster is None:
            return ChangeSet()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._cluster.settled(), _TIMEOUT_SECONDS)
        return self._cluster.arrived()

    async def run(self) -> None:
        """Judge what the clock has made another, until cancelled."""
        while True:
            self._news.clear()
            now = self._clock()
            moments = [moment for obj in self._newest.values() for moment in self._moments(obj) if moment > now]
            wait = min(min(moments, default=now + _LONGEST_WAIT) - now, _LONGEST_WAIT)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait.total_seconds())
            before, self._judged_at = self._judged_at, self._clock()
            due = tuple(obj for obj in self._newest.values() if self._is_due(obj, before))
            if due:
                self._add(ChangeSet(upserts=due))

    def _is_due(self, obj: Object, since: datetime) -> bool:
        return any(since < moment <= self._judged_at for moment in self._moments(obj))

    def _moments(self, obj: Object) -> Iterator[datetime]:
        """Yield when the clock may make another judgement of a Secret."""
        known = self._registry.objects.get(obj.key)
        for spec in (obj.spec, known.spec if known is not None else Secret()):
            if spec.pair is not None:
                yield from (spec.pair.begins, spec.pair.ends)

    def _judged(self, obj: Object) -> Object:
        if obj.kind != kinds.SECRET:
            return obj
        self._newest[obj.key] = obj
        known = self._registry.objects.get(obj.key)
        before = known.spec if known is not None else Secret()
        spec = _kept(obj.spec, before, self._clock())
        problems = _problems(spec)
        if problems and problems != _problems(before):
            metrics.UNUSABLE_SECRETS.inc()
            log.warning("secrets.unusable", object=str(obj.key), problems=problems)
        return replace(obj, spec=spec)


def _problems(spec: Secret) -> list[str]:
    return [text for text in (spec.pair_problem, spec.roots_problem, spec.logins_problem) if text]


def _kept(new: Secret, before: Secret, now: datetime) -> Secret:
    """Return the newest version of a Secret, with the last good parts of the one before where they are better."""
    if new.roots_problem and before.roots is not None:
        new = replace(new, roots=before.roots, roots_problem=f"{new.roots_problem}; the last good roots stay")
    if new.logins_problem and before.logins:
        new = replace(new, logins=before.logins, logins_problem=f"{new.logins_problem}; the last good logins stay")
    problem = new.pair_problem or _time_problem(new.pair, now)
    if problem and before.pair is not None and (new.pair is None or not _time_problem(before.pair, now)):
        return replace(new, pair=before.pair, pair_problem=f"{problem}; the last good pair stays")
    return replace(new, pair_problem=problem)


def _time_problem(pair: KeyPair | None, now: datetime) -> str:
    """Return what the clock says against a certificate; empty if nothing."""
    if pair is None:
        return ""
    if now >= pair.ends:
        return f"the certificate ended at {pair.ends.isoformat()}"
    if now < pair.begins:
        return f"the certificate begins at {pair.begins.isoformat()}"
    return ""
