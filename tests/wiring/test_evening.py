"""Replicas even out what they hold: the whole of the rule in virtual time, with proxies that go anywhere at random."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from controlplane.ads.shares import Load
from controlplane.wiring.evening import Evening, Pace
from controlplane.wiring.replicas import SilentError
from tests.compiler.virtual import run

PACE = Pace(timedelta(seconds=10), 50.0)


class Fleet:
    """Replicas, and proxies that are known by number. Whoever is sent away goes to a replica at random."""

    def __init__(self, *held: int, goes: Callable[[int], int] | None = None) -> None:
        self.random = random.Random(18)
        self.held = [list(range(sum(held[:number]), sum(held[: number + 1]))) for number in range(len(held))]
        self.goes = goes or (lambda _: self.random.randrange(len(self.held)))
        self.silent: set[int] = set()
        self.sent_away: list[tuple[float, int, int]] = []
        self.replicas = [Replica(self, number) for number in range(len(held))]

    @property
    def counts(self) -> list[int]:
        return [len(each) for each in self.held]

    @asynccontextmanager
    async def evened(self, pace: Pace = PACE, weights: Sequence[float] | None = None) -> AsyncIterator[None]:
        """Have all replicas at work; none of them begins at the moment of another."""
        evening = [
            Evening(replica, weight, self._ask(replica.number), pace)
            for replica, weight in zip(self.replicas, weights or [1.0] * len(self.held), strict=True)
        ]
        self.loads = list(evening)
        tasks = [asyncio.create_task(self._later(number, each)) for number, each in enumerate(evening)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in results), results

    async def _later(self, number: int, evening: Evening) -> None:
        await asyncio.sleep(number * 0.7)
        await evening.run()

    def _ask(self, number: int) -> Callable[[], Awaitable[Sequence[Load]]]:
        async def ask() -> Sequence[Load]:
            if self.silent - {number}:
                raise SilentError("no answer in time")
            return [each.load for other, each in enumerate(self.loads) if other != number]

        return ask


class Replica:
    """One that holds proxies, those first that came first."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet = fleet
        self.number = number

    @property
    def staying(self) -> int:
        return len(self.fleet.held[self.number])

    def send_away(self) -> None:
        proxy = self.fleet.held[self.number].pop(0)
        self.fleet.sent_away.append((asyncio.get_running_loop().time(), self.number, proxy))
        asyncio.get_running_loop().call_later(0.05, self._arrive, proxy)

    def _arrive(self, proxy: int) -> None:
        self.fleet.held[self.fleet.goes(self.number)].append(proxy)


@pytest.mark.parametrize("held", [(2500, 2500, 0), (2000, 0, 0), (100, 100, 0), (50, 0), (555,) * 9 + (0,)])
def test_a_replica_that_starts_has_its_share_within_a_minute(held: tuple[int, ...]) -> None:
    async def check() -> None:
        fleet = Fleet(*held)
        share, number = sum(held) / len(held), len(held)
        async with fleet.evened():
            await asyncio.sleep(60)
            assert min(fleet.counts) >= 0.8 * share - 1, fleet.counts
            await asyncio.sleep(120)
            sent = len(fleet.sent_away)
            await asyncio.sleep(3600)
            assert len(fleet.sent_away) == sent, "then it is quiet"
        assert max(fleet.counts) <= 1.2 * share + 1, fleet.counts
        assert sum(fleet.counts) == sum(held)
        again = sent - len({proxy for *_, proxy in fleet.sent_away})
        assert again <= sent / 2, f"of {sent} in {number} replicas {again} had been sent away before"

    run(check())


def test_no_more_are_sent_away_in_a_second_than_is_said() -> None:
    async def check() -> None:
        fleet = Fleet(1000, 0)
        async with fleet.evened(Pace(timedelta(seconds=10), 3.0)):
            await asyncio.sleep(60)
        seconds = [int(at) for at, *_ in fleet.sent_away]
        assert seconds
        assert max(seconds.count(each) for each in set(seconds)) <= 4
        assert len(seconds) <= 3 * 60

    run(check())


def test_a_rate_of_less_than_one_in_an_interval_is_held_too() -> None:
    async def check() -> None:
        fleet = Fleet(1000, 0)
        async with fleet.evened(Pace(timedelta(seconds=10), 0.01)):
            await asyncio.sleep(1000)
        assert 8 <= len(fleet.sent_away) <= 10

    run(check())


def test_nobody_goes_below_the_share() -> None:
    """Although all that are sent away go to the other one, and none comes back."""

    async def check() -> None:
        fleet = Fleet(1000, 0, goes=lambda number: 1 - number)
        async with fleet.evened():
            await asyncio.sleep(600)
        assert fleet.counts == [500, 500]
        assert {number for _, number, _ in fleet.sent_away} == {0}

    run(check())


def test_nothing_happens_while_one_does_not_answer() -> None:
    async def check() -> None:
        fleet = Fleet(300, 300, 0)
        fleet.silent = {2}
        async with fleet.evened():
            await asyncio.sleep(600)
            assert not fleet.sent_away
            fleet.silent = set()
            await asyncio.sleep(60)
            assert min(fleet.counts) >= 160

    run(check())


def test_proxies_that_always_come_back_are_left_alone_more_and_more() -> None:
    async def check() -> None:
        fleet = Fleet(300, 0, goes=lambda number: number)
        async with fleet.evened():
            await asyncio.sleep(3600)
            first = len(fleet.sent_away)
            await asyncio.sleep(3600)
        assert fleet.counts == [300, 0]
        assert len(fleet.sent_away) - first < first, "pauses get longer"
        assert len(fleet.sent_away) < 20 * 300

    run(check())


def test_what_chance_makes_of_them_is_left_alone() -> None:
    async def check() -> None:
        fleet = Fleet(0, 0, 0)
        for proxy in range(3000):
            fleet.held[fleet.random.randrange(3)].append(proxy)
        async with fleet.evened():
            await asyncio.sleep(3600)
        assert not fleet.sent_away

    run(check())


def test_shares_follow_weights() -> None:
    async def check() -> None:
        fleet = Fleet(500, 500)
        async with fleet.evened(weights=(1.0, 3.0)):
            await asyncio.sleep(120)
        assert fleet.counts[0] == pytest.approx(250, abs=15)

    run(check())
