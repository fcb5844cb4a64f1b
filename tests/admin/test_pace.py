"""Slices of long work."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator

import pytest

from controlplane.admin.json_text import Items, Members, pieces
from controlplane.admin.pace import PAUSE, Pace, Pause, in_order
from tests.admin.world import text


async def test_others_get_their_turn_in_between() -> None:
    """Whatever is asked for at the same time, one slice is taken in each turn of the loop."""
    turns: list[int] = []

    def steps() -> Iterator[int | Pause]:
        for number in range(40):
            end = time.perf_counter() + 0.0002
            while time.perf_counter() < end:
                pass
            turns.append(turn)
            yield number if number % 2 else PAUSE

    turn = 0
    pace = Pace(slice_seconds=0.001)
    both = [asyncio.ensure_future(pace.gathered(steps())) for _ in range(2)]
    while not all(task.done() for task in both):
        await asyncio.sleep(0)
        turn += 1
    assert [await task for task in both] == [list(range(1, 40, 2))] * 2
    assert max(turns.count(each) for each in set(turns)) <= 6


async def test_a_step_that_fails_ends_its_own_work_alone() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise RuntimeError("a bug")

    pace = Pace()
    with pytest.raises(RuntimeError, match="a bug"):
        await pace.gathered(failing())
    assert await pace.gathered(iter([1, 2])) == [1, 2]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 3000])
def test_order(count: int) -> None:
    """Equal ones stay as they came."""
    items = [(random.Random(number).randrange(50), number) for number in range(count)]
    ordered = [item for item in in_order(iter(items), lambda item: item[0]) if not isinstance(item, Pause)]
    assert ordered == sorted(items, key=lambda item: item[0])


@pytest.mark.parametrize("indent", [None, 4])
def test_text_is_as_that_of_a_whole_value(indent: int | None) -> None:
    plain = {"a": [1, {"b": "line\nend", "c": []}], "d": {}, "e": [[], [None, True]], 'q"': 1.5}
    made = Members(
        [
            ("a", Items(iter([1, PAUSE, Members([("b", "line\nend"), PAUSE, ("c", Items(()))])]))),
            PAUSE,
            ("d", Members(())),
            ("e", [[], [None, True]]),
            ('q"', 1.5),
        ]
    )
    assert text(pieces(made, indent)) == json.dumps(plain, indent=indent) + "\n"
