"""JSON that machines wrote: bounded, and one part of it never hides the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.documents.extent import extent, is_deeper
from controlplane.documents.json_reader import json_pruned, json_value
from controlplane.documents.limits import UnreadableError


def nested(levels: int, inner: Any = None) -> Any:
    """Lists and mappings by turns."""
    for level in range(levels):
        inner = [inner] if level % 2 else {"a": inner}
    return inner


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(b"\xff", "is not UTF-8 text", id="encoding"),
        pytest.param(b"{", "line 1: Expecting property name", id="syntax"),
        pytest.param(b"[" * 200_000, "nested deeper", id="beyond-the-stack"),
        pytest.param(json.dumps(nested(101)), "nested deeper", id="just-too-deep"),
        pytest.param(" " * 1001, "is longer than 1000 characters", id="length"),
        pytest.param('{"a": ["\\ud800"]}', "half of a surrogate pair", id="surrogate"),
    ],
)
def test_unreadable(text: str | bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        json_value(text, limit=1000 if reason.startswith("is longer") else 300_000)


def test_good() -> None:
    value = [nested(99), "\U0001f600"]
    assert json_value(json.dumps(value)) == json_value(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text", ['"', '"\\"', '{"a": "\\\\"', "]" * 10, "{" * 300 + "]" * 300, '["' + "[" * 5000, "[" * 5000]
)
def test_pruning_what_is_no_json(text: str) -> None:
    with pytest.raises(UnreadableError):
        json_pruned(text.encode())


def test_pruning_leaves_what_is_beside() -> None:
    """Brackets in texts are no containers, nor do escapes end a text."""
    beside = {"a": '[[["', "b": "\\", "c": nested(90, "x"), 'd"[': [1, 2.5, None, True]}
    deep = "[" * 3000 + '{"x": "]", "y": [{}, "\\"]"]}' + "]" * 3000
    text = json.dumps({"items": [beside, {"name": "deep", "value": "@"}, beside]}).replace('"@"', deep)
    found = json_pruned(text.encode())
    assert (found["items"][0], found["items"][2]) == (beside, beside)
    assert found["items"][1]["name"] == "deep"
    assert is_deeper(found["items"][1], 100)


def test_extent() -> None:
    assert not is_deeper(nested(100), 100)
    assert is_deeper(nested(101), 100)
    assert extent({"ab": ["cde", 1]}, deepest=9, largest=100) == (2, 2 + 3 + 8 * 4)
    assert extent(nested(50), deepest=9, largest=10**6).depth == 10
    assert extent(["x" * 100] * 10, deepest=9, largest=200).size > 200
