"""Who waits, in what order, and who is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import pytest

from controlplane.ads.admission import Admission
from controlplane.ads.class_places import ClassPlaces
from controlplane.ads.fair import FairQueue, Gate, Rates
from controlplane.ads.refusal import StreamRefused
from controlplane.limits import Limits, unheard
from tests.compiler.virtual import advance, run, turns
from tests.patience import patience


def _note(order: list[str], name: str, _: object) -> None:
    order.append(name)


async def test_each_key_has_its_turn() -> None:
    queue, order = FairQueue(), list[str]()
    names = ["a1", "a2", "a3", "b1", "c1", "c2"]
    for name in names:
        queue.add(name[0]).add_done_callback(partial(_note, order, name))
    while queue.next():
        await asyncio.sleep(0)
    assert order == ["a1", "b1", "c1", "a2", "c2", "a3"]


async def test_who_gave_up_is_passed_over() -> None:
    queue = FairQueue()
    first, second = queue.add("a"), queue.add("a")
    first.cancel()
    assert queue.next()
    assert second.done()
    assert not queue.next()


async def test_a_gate_lets_so_many_in_and_each_key_in_its_turn() -> None:
    gate, order = Gate(1, ("limit", 10), unheard), list[str]()

    async def work(name: str) -> None:
        async with gate.entered(name[0]):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for name in ("a1", "a2", "a3", "b1"):
            tasks.create_task(work(name))
    assert order == ["a1", "a2", "b1", "a3"]


async def test_a_gate_refuses_those_of_a_key_that_has_many_waiting_and_no_others() -> None:
    reached: list[str] = []
    gate, release = Gate(1, ("some_limit", 1), reached.append), asyncio.Event()

    async def work(key: str) -> None:
        async with gate.entered(key):
            await release.wait()

    tasks = [asyncio.create_task(work(key)) for key in ("a", "a", "a", "b")]
    with pytest.raises(StreamRefused, match="more than 1 of such requests wait"):
        await tasks[2]
    assert reached == ["some_limit"]
    release.set()
    await asyncio.gather(tasks[0], tasks[1], tasks[3])


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_who_is_cancelled_at_a_gate_keeps_nobody_out(cancelled: int) -> None:
    gate, release, through = Gate(1, ("limit", 10), unheard), asyncio.Event(), list[int]()

    async def work(number: int) -> None:
        async with gate.entered("a"):
            await release.wait()
            through.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(3)]
    await turns(3)
    tasks[cancelled].cancel()
    release.set()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    assert through == [number for number in range(3) if number != cancelled]
    async with patience(), gate.entered("a"):
        pass


async def test_a_flood_of_one_address_delays_another_by_one_stream() -> None:
    """Places were taken before anybody was known: 13 KB/s kept the honest proxies out."""
    admission, order = Admission(rate=500, most_waiting=100), list[str]()

    async def come(address: str) -> None:
        with suppress(StreamRefused):
            await admission.admit(address)
            order.append(address)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(200):
            tasks.create_task(come("flood"))
        for number in range(5):
            tasks.create_task(come(f"honest {number}"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order.index("honest 4") < 8
    assert order.count("flood") == 101, "one at once, a hundred waiting"


def test_streams_are_let_in_more_slowly_while_the_loop_is_late() -> None:
    async def scene() -> None:
        admission = Admission(rate=0, most_waiting=100)
        quick = admission.interval
        for _ in range(3):
            await admission.admit("a")
            advance(0.05)  # the loop is late
        await asyncio.sleep(0)
        assert admission.interval > quick
        for _ in range(40):
            await admission.admit("a")
        assert admission.interval < 2 * quick

    run(scene())


def test_rates() -> None:
    rates = Rates(per_second=0.001, burst=2)
    assert [rates.allows("a") for _ in range(3)] == [True, True, False]
    assert rates.allows("b")


def test_places_of_classes() -> None:
    reached: list[str] = []
    places = ClassPlaces(Limits(max_proxy_classes=3, max_proxy_classes_per_address=2), reached.append)
    places.enter("a", 1)
    places.enter("a", 1)
    places.enter("a", 2)
    with pytest.raises(StreamRefused):
        places.enter("a", 3)
    places.enter("b", 3)
    places.enter("b", 1)
    with pytest.raises(StreamRefused):
        places.enter("c", 4)
    assert reached == ["max_proxy_classes_per_address", "max_proxy_classes"]
    places.leave("a", 2)
    places.enter("c", 4)
    places.leave("a", 1)
    places.enter("a", 1)
