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
from typing import TYPE_CHECKING, NamedTuple

import structlog

from controlplane import metrics
from controlplane.model import kinds
from controlplane.registry.store import Registry

if TYPE_CHECKING:
    from cryptography import x509

log = structlog.get_logger(__name__)

KINDS = ("root", "intermediate", "serving", "secret")
_LAST_PART = 10
"""A certificate is ending when only one part of so many is left of its life."""
_LOOK_SECONDS = 600.0


class Certificate(NamedTuple):
    """When a certificate begins and ends; ``kind`` is one of ``KINDS``, ``name`` is for people."""

    kind: str
    name: str
    begins: datetime
    ends: datetime

    @classmethod
    def of(cls, kind: str, certificate: x509.Certificate) -> Certificate:
        """Return what matters here of a certificate."""
        name = certificate.subject.rfc4514_string() or f"number {certificate.serial_number:x}"
        return cls(kind, name, certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    def problem(self, now: datetime) -> str:
        """Return a sentence about it if it ends soon; empty if there is time."""
        if now >= self.ends:
            return f"the {self.kind} certificate {self.name} ended at {self.ends.isoformat()}"
        if self.ends - now < (self.ends - self.begins) / _LAST_PART:
            return f"the {self.kind} certificate {self.name} ends at {self.ends.isoformat()}"
        return ""


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
        found = sorted(self._certificates(), key=lambda each: each.ends)
        return tuple(problem for each in found if (problem := each.problem(now)))

    async def run(self) -> None:
        """Have the metrics follow, and say in the log what has come to end soon, once each, until cancelled."""
        for kind in KINDS:
            metrics.CERTIFICATE_END.labels(kind).set_function(partial(self._earliest, kind))
        while True:
            problems = self.problems
            for problem in problems:
                if problem not in self._told:
                    log.warning("certificates.ending", reason=problem)
            self._told = frozenset(problems)
            await asyncio.sleep(_LOOK_SECONDS)

    def _earliest(self, kind: str) -> float:
        """Return when the first of a kind ends, in seconds since the epoch; 0 where there is none."""
        return min((each.ends.timestamp() for each in self._certificates() if each.kind == kind), default=0.0)

    def _certificates(self) -> Iterator[Certificate]:
        yield from self._authority()
        for key in self._registry.keys(kinds.SECRET):
            obj = self._registry.objects.get(key)
            if obj is not None and obj.spec.pair is not None:
                yield Certificate("secret", f"of {key}", obj.spec.pair.begins, obj.spec.pair.ends)
