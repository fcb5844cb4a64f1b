"""JSON that is read in steps is what is read at one go."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.documents.json_steps import json_steps

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def read(text: str, levels: int) -> tuple[Any, int]:
    """Return the value and how many steps it took."""
    steps, count = json_steps(text, levels), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


@given(VALUES, st.integers(0, 6), st.sampled_from([None, 2]), st.sampled_from([(",", ":"), (" ,\n", "\t: ")]))
def test_what_comes_out_is_the_same(value: Any, levels: int, indent: int | None, marks: tuple[str, str]) -> None:
    text = f" \r\n{json.dumps(value, indent=indent, separators=marks)}\t"
    assert read(text, levels)[0] == value


@given(st.text(st.sampled_from('{}[]:,"\\ 1-.eEtrufalsn'), max_size=12), st.integers(0, 3))
def test_what_is_no_json_is_refused_by_both(text: str, levels: int) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            read(text, levels)
    else:
        assert read(text, levels)[0] == expected


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[", '{"a"', '{"a":', '{"a":1', "[1", "[1,", "[1,]", '{"a":1,}', "[] []"]
)
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_what_is_cut_off(text: str, levels: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text, levels)


@pytest.mark.parametrize("levels", [0, 3])
def test_what_json_does_not_have(levels: int) -> None:
    for text in ('[{"a": NaN}]', "[[-Infinity]]"):
        with pytest.raises(ValueError, match="is not a JSON value"):
            read(text, levels)
    assert read('{"a": 1, "a": 2}', levels)[0] == {"a": 2}, "the last one counts"
    with pytest.raises(RecursionError):
        read("[" * 100_000 + "]" * 100_000, levels)


def test_steps() -> None:
    """A page is an object with a list of objects, each of which is one step."""
    page = json.dumps({"metadata": {"resourceVersion": "7"}, "items": [{"a": [1, 2]}] * 100})
    assert read(page, 0)[1] == 0
    assert read(page, 2)[1] == 103
