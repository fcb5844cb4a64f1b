"""When certificates end: told before it is too late, in metrics, in the status and in the log.

Looked at are those that nobody renews by themselves or whose renewal may have failed: the roots of the mesh, what signs
below them, what the ports with TLS show (webhooks too), and what Secrets hold for gateways. Those of workloads live for
a day and are their agents' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

import structlog

from controlplane import metrics
from controlplane.model import kinds
from controlplane.model.certificates import CERTIFICATE_KINDS, Certificate
from controlplane.registry.store import Registry

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 600.0


def _now() -> datetime:
    return datetime.now(UTC)


class ExpiryRadar:
    """Watches over the ends of certificates; ``authority`` yields those of the mesh itself."""

    def __init__(
        self,
        registry: Registry,
        authority: Callable[[], Iterable[Certificate]],
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._registry = registry
        self._authority = authority
        self._clock = clock
        self._told: frozenset[str] = frozenset()

    @property
    def problems(self) -> tuple[str, ...]:
        """What ends soon or has ended, the earliest first, one sentence each."""
        now = self._clock()
        found = sorted(self.certificates(), key=lambda each: each.ends)
        return tuple(problem for each in found if (problem := each.problem(now)))

    async def run(self) -> None:
        """Have the metrics follow, and say in the log what has come to end soon, once each, until cancelled."""
        for kind in CERTIFICATE_KINDS:
            metrics.CERTIFICATE_END.labels(kind).set_function(partial(self._earliest, kind))
        metrics.SIGNING_ENDS.earliest = self._earliest
        while True:
            problems = self.problems
            for problem in problems:
                if problem not in self._told:
                    log.warning("certificates.ending", reason=problem)
            self._told = frozenset(problems)
            await asyncio.sleep(_LOOK_SECONDS)

    def _earliest(self, kind: str) -> float:
        """Return when the first of a kind ends, in seconds since the epoch; 0 where there is none."""
        return min((each.ends.timestamp() for each in self.certificates() if each.kind == kind), default=0.0)

    def certificates(self) -> Iterator[Certificate]:
        """Yield all that are watched over."""
        yield from self._authority()
        for key in self._registry.keys(kinds.SECRET):
            obj = self._registry.objects.get(key)
            if obj is not None and obj.spec.pair is not None:
                yield Certificate("secret", f"of {key}", obj.spec.pair.begins, obj.spec.pair.ends)
