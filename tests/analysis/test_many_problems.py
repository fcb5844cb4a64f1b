"""What is wrong with the configuration, told one by one."""

from __future__ import annotations

import gc
import time

import pytest

from controlplane.analysis.problems import Problems
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey, Rejected, Warned
from controlplane.registry.store import Registry

MANY, ROUNDS = 5_000, 5


class Source:
    """Objects of which each is refused or warned of."""

    def __init__(self, count: int) -> None:
        keys = [ObjectKey(kinds.VIRTUAL_SERVICE, f"ns-{number % 20}", f"vs-{number}") for number in range(count)]
        self.rejected = {f"{key}.yaml": Rejected(key, ("spec: no",), f"{key}.yaml") for key in keys}
        self.warnings = frozenset(Warned(key, text) for key in keys for text in ("b is odd", "a is odd"))


def test_what_is_said_of_one_object_is_together_and_in_order() -> None:
    refused, warned = Problems(Source(1), Registry())
    assert refused.problems == ("spec: no",)
    assert warned.problems == ("a is odd", "b is odd")


@pytest.mark.slow
def test_however_many_there_are_nobody_waits_for_one() -> None:
    """Measured in processor time, at the best of several: a busy machine and the garbage collector add to some."""
    problems = Problems(Source(MANY), Registry())
    gc.collect()
    assert min(_longest_step(problems) for _ in range(ROUNDS)) < 0.02


def _longest_step(problems: Problems) -> float:
    longest, count, before = 0.0, 0, time.thread_time()
    for _ in problems:
        now = time.thread_time()
        longest, before, count = max(longest, now - before), now, count + 1
    assert count == 2 * MANY
    return longest
