"""The incremental engine: what is remembered of values and of failures, and for how long."""

from __future__ import annotations

import gc
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
