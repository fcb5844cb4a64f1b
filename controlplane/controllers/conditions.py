"""The condition ``Reconciled`` of all of Istio's kinds: is an object in force, or why not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from kubernetes.aio.client import ApiClient

from controlplane.analysis.findings import Finding
from controlplane.analysis.untranslated import untranslated
from controlplane.apis.kinds import KINDS
from controlplane.controllers.reconciled import condition, differs, patch
from controlplane.controllers.status_writer import Counts, Outcome, Pace, StatusWriter, Write
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.status import Received

WRITTEN_KINDS = frozenset(GroupKind(kind.name, kind.group) for kind in KINDS.values())


@dataclass(frozen=True, slots=True)
class Inputs:
    """What conditions are made of.

    ``received`` yields the newest version of every object that counts, also while those change; ``find`` returns one
    of them. ``in_force`` returns the version of an object that is in force, ``None`` also while what is found about it
    is still being looked for; ``findings`` returns what has been found, sorted by key. ``changed`` is set whenever one
    of these may be another; it is cleared here.
    """

    received: Callable[[], Iterable[Received]]
    find: Callable[[ObjectKey], Received | None]
    in_force: Callable[[ObjectKey], Object | None]
    findings: Callable[[], Sequence[Finding]]
    changed: asyncio.Event


class Conditions:
    """Keeps the conditions right while ``run`` runs, which may be cancelled and run again."""

    def __init__(
        self,
        client: ApiClient,
        inputs: Inputs,
        pace: Pace | None = None,
        tell: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        """Prepare; ``tell`` is told of each write."""
        self._writer = StatusWriter(client, _Plan(inputs), inputs.changed, pace, tell)

    @property
    def counts(self) -> Counts:
        """What was done since the start."""
        return self._writer.counts

    async def run(self) -> None:
        """Write what differs until cancelled; for the leader alone."""
        await self._writer.run()


class _Plan:
    """The conditions that should stand there; bad news is written first, since its author waits for it."""

    def __init__(self, inputs: Inputs) -> None:
        self.find = inputs.find
        self._inputs = inputs
        self._unused: dict[ObjectKey, tuple[Object, tuple[str, ...]]] = {}
        self._grouped: tuple[Sequence[Finding], Mapping[ObjectKey, tuple[Finding, ...]]] = ((), {})

    def candidates(self) -> Iterator[Received]:
        """Yield what has the condition."""
        present: set[ObjectKey] = set()
        for received in self._inputs.received():
            if received.key.kind in WRITTEN_KINDS:
                present.add(received.key)
                yield received
        for gone in self._unused.keys() - present:
            del self._unused[gone]

    def write(self, received: Received) -> Write | None:
        """Return what makes the condition say what it should."""
        obj = self._inputs.in_force(received.key)
        findings = self._findings().get(received.key, ())
        wanted = condition(received, obj, findings, self._unused_of(received.key, obj))
        if wanted is None or not differs(received.written, wanted):
            return None
        kind = KINDS[received.key.kind.name]
        operations = patch(received, wanted, datetime.now(UTC))
        return Write((kind.group, kind.plural), operations, wanted.reason, order=wanted.status)

    def _findings(self) -> Mapping[ObjectKey, tuple[Finding, ...]]:
        """Return the findings by object; they are grouped anew when they are others."""
        now = self._inputs.findings()
        if now is not self._grouped[0]:
            groups = groupby(now, key=lambda each: each.key)
            self._grouped = now, {key: tuple(found) for key, found in groups}
        return self._grouped[1]

    def _unused_of(self, key: ObjectKey, obj: Object | None) -> tuple[str, ...]:
        """Return what nothing translates of an object; it is worked out once for each object."""
        if obj is None:
            return ()
        known = self._unused.get(key)
        if known is None or known[0] is not obj:
            known = self._unused[key] = obj, untranslated(obj)
        return known[1]
