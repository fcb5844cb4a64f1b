"""Portions of a list: all of it, in order, and a name in one place for ever."""

from __future__ import annotations

import pytest

from controlplane.registry.portions import MANY, PORTIONS, portions


@pytest.mark.parametrize("count", [0, 1, MANY - 1, MANY, 3 * MANY])
def test_portions_are_the_list(count: int) -> None:
    things = [f"svc-{number // 2}" for number in range(count)]  # each name twice
    found = portions(things, str)
    assert len(found) == (1 if count < MANY else PORTIONS)
    assert sorted(name for portion in found for name in portion) == sorted(things)
    assert max(map(len, found)) < MANY, "about as long as each other"
    assert all(list(portion) == [name for name in things if name in portion] for portion in found), "in order"


def test_what_comes_and_goes_is_a_matter_of_its_own_portion() -> None:
    things = [f"svc-{number}" for number in range(MANY + 1)]
    before, after = portions(things, str), portions(things[:100] + things[101:], str)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1
