"""Differences of JSON values as patches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies

from controlplane.plan import edits as module
from controlplane.plan.edits import edits
from tests.injector.patched import patched

VALUES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers(0, 3) | strategies.sampled_from(["a", "b~/c"]),
    lambda inner: strategies.lists(inner, max_size=5) | strategies.dictionaries(strategies.sampled_from("ab/~"), inner),
    max_leaves=15,
)


@given(before=VALUES, after=VALUES)
def test_a_patch_makes_the_one_of_the_other(before: Any, after: Any) -> None:
    before, after = {"it": before}, {"it": after}
    assert patched(before, [each.words() for each in edits(before, after)]) == after


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [
        pytest.param({"a": 1}, {"a": 2}, [("replace", "/a", 1, 2)], id="value"),
        pytest.param([1, 2, 3], [1, 9, 2, 3], [("add", "/1", None, 9)], id="what-is-put-in-moves-nobody"),
        pytest.param([1, 2, 3], [2, 3], [("remove", "/0", 1, None)], id="what-goes-moves-nobody"),
        pytest.param([{"n": 1, "w": 90}], [{"n": 1, "w": 50}], [("replace", "/0/w", 90, 50)], id="inside-of-a-list"),
    ],
)
def test_as_few_steps_as_a_person_would_take(before: Any, after: Any, steps: list[Any]) -> None:
    found = [each.words() for each in edits(before, after)]
    assert [(each["op"], each["path"], each.get("was"), each.get("value")) for each in found] == steps


def test_long_lists_are_compared_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """To align them would take the square of their length."""
    monkeypatch.setattr(module, "_MOST_COMPARED", 3)
    before, after = {"it": [1, 2, 3, 4]}, {"it": [0, 1, 2, 3, 4]}
    steps = [each.words() for each in edits(before, after)]
    assert patched(before, steps) == after
    assert len(steps) == 5
