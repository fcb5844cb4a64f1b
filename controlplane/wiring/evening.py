"""Keeps a replica near its share of the proxies: where it has too many, some are asked to connect anew.

In: what it holds, and what each other replica holds. Out: streams that end, a few at a time, those first that have been
open the longest, so that none is ended again soon. What may go wrong: a replica that does not say what it holds. Then
nobody is sent away. Where proxies come back to who sent them away, so that nothing gets more even, pauses get longer.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol

import structlog

from controlplane import metrics
from controlplane.ads.shares import Balance, Load, Surplus
from controlplane.backoff import Backoff
from controlplane.wiring.replicas import SilentError

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 1_800.0
_HELPED = 0.25
"""Of the proxies that should go to others, how many do where it helps to send them away."""


class Held(Protocol):
    """The proxies of this replica."""

    @property
    def staying(self) -> int:
        """How many are connected, without those that were sent away and have not gone yet."""
        ...

    def send_away(self) -> None:
        """Ask the one that has been connected the longest to connect anew; nothing if there is none."""
        ...


class Pace(NamedTuple):
    """How often the others are asked, and how many proxies may be sent away in a second (above 0)."""

    interval: timedelta
    per_second: float


class Evening:
    """Keeps ``held`` near its share while ``run`` runs, which may be cancelled and run again."""

    def __init__(self, held: Held, weight: float, ask: Callable[[], Awaitable[Sequence[Load]]], pace: Pace) -> None:
        """Weigh this replica with ``weight`` beside what ``ask`` gives, or raises ``SilentError``."""
        self._held = held
        self._weight = weight
        self._ask = ask
        self._seconds = pace.interval.total_seconds()
        self._per_second = pace.per_second
        self._balance = Balance()
        self._backoff = Backoff(2 * self._seconds, _LONGEST_PAUSE_SECONDS)
        self._silent = False

    @property
    def load(self) -> Load:
        """What this replica holds."""
        return Load(self._held.staying, self._weight)

    async def run(self) -> None:
        """Ask the others, and send away what is too much, again and again until cancelled."""
        hoped = math.inf  # what others lack at the most now if proxies went to them that were sent away
        while True:
            surplus = await self._surplus()
            if surplus.ends and surplus.lacking > hoped:
                hoped = math.inf
                await asyncio.sleep(self._backoff.pause())
                continue
            if hoped < math.inf:
                self._backoff.reset()
            sent = await self._send_away(surplus)
            hoped = surplus.lacking - _HELPED * sent * surplus.each if sent else math.inf

    async def _surplus(self) -> Surplus:
        try:
            others = await self._ask()
        except SilentError as error:
            if not self._silent:
                log.warning("app.replica_silent", reason=str(error))
            self._silent = True
            return Surplus(self.load.proxies)
        self._silent = False
        surplus = self._balance.surplus(self.load, others)
        metrics.REPLICAS.set(1 + len(others))
        metrics.SHARE.set(surplus.share)
        return surplus

    async def _send_away(self, surplus: Surplus) -> int:
        """Send proxies away, evenly over the time until the others are asked again; return how many."""
        count = min(surplus.ends, max(1, int(self._seconds * self._per_second)))
        seconds = max(self._seconds * random.uniform(0.9, 1.1), count / self._per_second)  # noqa: S311 - no secret
        sent = 0
        for _ in range(max(count, 1)):
            await asyncio.sleep(seconds / max(count, 1))
            if count and self._held.staying > surplus.share:
                self._held.send_away()
                metrics.SENT_AWAY.inc()
                sent += 1
        if sent:
            log.info("app.proxies_sent_away", count=sent, share=surplus.share, proxies=self._held.staying)
        return sent
