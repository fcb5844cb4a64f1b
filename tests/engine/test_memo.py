"""The incremental engine: what is remembered of values and of failures, and for how long."""

from __future__ import annotations

import gc
import random
import traceback
import weakref
from collections.abc import Callable

import pytest

from controlplane.engine.memo import Memo, QueryCycleError, QueryError
from controlplane.engine.recording import Query, Recorder


class Facts:
    """Numbers by name, with queries over them."""

    def __init__(self, **values: int) -> None:
        self.values = values
        self.memo = Memo(Recorder)

    def read(self, view: Recorder, name: str) -> int:
        view.record(name)
        return self.values[name]

    def set(self, **values: int) -> None:
        self.values |= values
        self.memo.invalidate(values)

    def query(self, build: Callable[[Recorder, str], int], *, isolated: bool = False) -> Query[str, int]:
        return Query(build, isolated=isolated)


class Marker:
    """Something in a frame that a failure must not keep."""


def test_a_query_that_reads_itself_fails_in_its_first_run_too() -> None:
    facts = Facts(turn=1)

    def first(view: Recorder, key: str) -> int:
        return second(view, key) if facts.read(view, "turn") else 5

    first_query = facts.query(first)
    second = facts.query(lambda view, key: first_query(view, key) + 1)
    with pytest.raises(QueryError) as raised:
        facts.memo.get(first_query, "x")
    assert isinstance(raised.value.__cause__, QueryCycleError)
    facts.set(turn=0)
    assert facts.memo.get(second, "x") == 6, "the circle is gone, and so is its failure"
    assert facts.memo.get(first_query, "x") == 5
    facts.set(turn=1)
    for query in (second, first_query):
        with pytest.raises(QueryError):
            facts.memo.get(query, "x")
    facts.set(turn=0)
    assert facts.memo.get(first_query, "x") == 5


def test_a_failure_keeps_no_frames_and_does_not_grow() -> None:
    """What a failing query had in hand is free again; the traceback is as long after a hundred reads as after one."""
    facts, held = Facts(), []

    def fail(_view: Recorder, _key: str) -> int:
        marker = Marker()
        held.append(weakref.ref(marker))
        raise ValueError("bad")

    failing = facts.query(fail)

    def reading(view: Recorder, key: str) -> int:
        marker = Marker()
        held.append(weakref.ref(marker))
        return failing(view, "shared") + len(key)

    reader = facts.query(reading)
    lengths = []
    for number in range(100):
        marker = Marker()
        held.append(weakref.ref(marker))
        with pytest.raises(QueryError, match="ValueError: bad") as raised:
            facts.memo.get(reader, str(number))
        cause = raised.value.__cause__
        assert cause is not None
        lengths.append(len(traceback.format_exception(cause)))
        del marker, raised, cause
    assert lengths[0] == lengths[-1]
    gc.collect()
    assert [ref for ref in held if ref() is not None] == []


def test_the_place_of_a_failure_is_kept() -> None:
    facts = Facts()

    def fail_here(_view: Recorder, _key: str) -> int:
        raise ValueError("bad")

    reader = facts.query(lambda view, key: facts_failing(view, key))  # noqa: PLW0108 - another query
    facts_failing = facts.query(fail_here)
    for _ in range(2):
        with pytest.raises(QueryError) as raised:
            facts.memo.get(reader, "x")
        cause = raised.value.__cause__
        assert cause is not None
        assert "in fail_here" in "".join(traceback.format_exception(cause))


def test_an_outcome_tells_a_last_good_value_from_one_that_never_was() -> None:
    facts = Facts(a=1)

    def positive(view: Recorder, key: str) -> int:
        value = facts.read(view, key)
        if value < 0:
            raise ValueError(value)
        return value

    query = facts.query(positive, isolated=True)
    assert facts.memo.outcome(query, "a") == (1, "", True)
    facts.set(a=-5)
    assert facts.memo.outcome(query, "a") == (1, "ValueError: -5", True)
    facts.set(a=1)
    assert facts.memo.outcome(query, "a") == (1, "", True)
    facts.set(b=-7)
    assert facts.memo.outcome(query, "b") == (None, "ValueError: -7", False)
    seen = facts.query(lambda view, key: int(query.outcome(view, key).built))
    assert facts.memo.get(seen, "b") == 0
    facts.set(b=-1)
    assert facts.memo.get(seen, "b") == 0
    facts.set(b=0)
    assert facts.memo.get(seen, "b") == 1


def test_what_never_was_built_is_not_read_as_if_it_were_nothing() -> None:
    facts = Facts(a=-5)

    def value(view: Recorder, key: str) -> int:
        held = facts.read(view, key)
        if held < 0:
            raise ValueError(held)
        return held

    query = facts.query(value, isolated=True)
    reader = facts.query(lambda view, key: query(view, key) + 1)
    with pytest.raises(QueryError, match="ValueError: -5"):
        facts.memo.get(query, "a")
    assert facts.memo.outcome(reader, "a").failure == "ValueError: -5", "the first reason"
    facts.set(a=0)
    assert facts.memo.get(reader, "a") == 1
    facts.set(a=-1)
    assert facts.memo.get(reader, "a") == 1, "the last good one"
    facts.set(a=3)
    assert facts.memo.get(reader, "a") == 4


def test_what_nobody_keeps_is_collected_a_few_at_a_time() -> None:
    facts = Facts(**{str(number): number for number in range(10)})
    query = facts.query(facts.read)
    for number in range(10):
        facts.memo.keep(query, str(number))
    assert not facts.memo.runs, "what is kept is computed when it is asked for"
    assert [facts.memo.get(query, str(number)) for number in range(10)] == list(range(10))
    for number in range(1, 10):
        facts.memo.release(query, str(number))
    assert not facts.memo.collect(5)
    assert facts.memo.collect()
    runs = facts.memo.runs["read"]
    assert facts.memo.get(query, "0") == 0
    assert facts.memo.runs["read"] == runs
    facts.memo.get(query, "1")
    assert facts.memo.runs["read"] == runs + 1


def test_forgetting_keeps_what_is_kept_and_computes_it_anew() -> None:
    facts = Facts(a=1)
    query = facts.query(facts.read)
    facts.memo.keep(query, "a")
    assert facts.memo.get(query, "a") == 1
    facts.values["a"] = 2  # unheard: something went wrong
    assert facts.memo.get(query, "a") == 1
    facts.memo.forget()
    assert facts.memo.get(query, "a") == 2
    assert facts.memo.collect()
    assert facts.memo.get(query, "a") == 2
    assert facts.memo.runs["read"] == 2


def test_a_change_looks_at_what_may_be_another_and_at_nothing_else() -> None:
    """Of a thousand reads one is stale: one is looked at, however many others there are."""
    facts = Facts(**{f"n{number}": 0 for number in range(1000)})
    each = facts.query(lambda view, name: facts.read(view, name) // 10)
    total = facts.query(lambda view, _key: sum(each(view, name) for name in facts.values))
    assert facts.memo.get(total, "") == 0
    before, runs = facts.memo.compared, dict(facts.memo.runs)
    facts.set(n7=3)
    assert facts.memo.get(total, "") == 0
    assert facts.memo.compared - before == 2, "the fact, and the value that came of it"
    assert sum(facts.memo.runs.values()) == sum(runs.values()) + 1
    facts.set(n7=10, n900=20)
    assert facts.memo.get(total, "") == 3


def test_what_may_be_another_is_looked_at_in_the_order_in_which_it_was_read() -> None:
    """A read that would not be made any more is not made: here it would fail."""
    facts, made = Facts(ask=1, answer=1), []

    def doubled(view: Recorder, name: str) -> int:
        made.append(facts.values[name])
        return 2 * facts.read(view, name)

    ask, answer = facts.query(facts.read), facts.query(doubled)
    both = facts.query(lambda view, _key: answer(view, "answer") if ask(view, "ask") else 0)
    assert facts.memo.get(both, "") == 2
    facts.set(answer=5, ask=0)
    assert facts.memo.get(both, "") == 0
    assert made == [1]


@pytest.mark.parametrize("seed", range(40))
def test_values_are_those_of_a_computation_from_scratch(seed: int) -> None:
    """Whatever changes, and whoever asks when, for whatever part of it, and whatever is forgotten meanwhile."""
    rng = random.Random(seed)
    facts = Facts(**{f"n{number}": rng.randrange(4) for number in range(6)})
    names = list(facts.values)
    layers: list[Query[str, int]] = [facts.query(facts.read)]

    def layer(below: Query[str, int], salt: int) -> Callable[[Recorder, str], int]:
        def build(view: Recorder, name: str) -> int:
            at = names.index(name)
            first = below(view, names[(at + salt) % len(names)])
            others = (names[(at + step) % len(names)] for step in range(first % 4))  # what is read depends on it
            return (first + sum(below(view, other) for other in others)) % 5

        return build

    for salt in range(4):
        layers.append(facts.query(layer(layers[-1], salt)))
    kept = rng.choice(names)
    facts.memo.keep(layers[-1], kept)
    for _ in range(60):
        facts.set(**{name: rng.randrange(4) for name in rng.sample(names, rng.randrange(3))})
        if rng.random() < 0.3:
            facts.memo.collect()
        asked, name = rng.choice(layers), rng.choice(names)
        fresh = Memo(Recorder)
        assert facts.memo.get(asked, name) == fresh.get(asked, name)
