"""Paths of ``--set`` and of overlays."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from controlplane.install.errors import RefusedInputError
from controlplane.install.paths import assignment, set_at

BASE: dict[str, Any] = {
    "a": {"b": 1},
    "list": [{"name": "x", "v": 1}, {"name": "y", "v": 2}],
    "texts": ["--one", "--two"],
}


@pytest.mark.parametrize(
    ("path", "value", "change"),
    [
        ("a.b", 2, {"a": {"b": 2}}),
        ("a.c.d", True, {"a": {"b": 1, "c": {"d": True}}}),
        ("a.b", None, {"a": {}}),
        ("n.o.t", None, {}),
        (r"a.example\.com/x", "v", {"a": {"b": 1, "example.com/x": "v"}}),
        ("a['example.com/x'].y", "v", {"a": {"b": 1, "example.com/x": {"y": "v"}}}),
        ("list[0].v", 3, {"list": [{"name": "x", "v": 3}, {"name": "y", "v": 2}]}),
        ("list[name:y].v", 3, {"list": [{"name": "x", "v": 1}, {"name": "y", "v": 3}]}),
        ("list.[name:y].v", 3, {"list": [{"name": "x", "v": 1}, {"name": "y", "v": 3}]}),
        ("list[name:x]", None, {"list": [{"name": "y", "v": 2}]}),
        ("list[-1]", {"name": "z"}, {"list": [*BASE["list"], {"name": "z"}]}),
        ("list[name:z]", {"v": 9}, {"list": [*BASE["list"], {"name": "z", "v": 9}]}),
        ("list[name:z].v", 9, {"list": [*BASE["list"], {"name": "z", "v": 9}]}),
        ("list[2].name", "z", {"list": [*BASE["list"], {"name": "z"}]}),
        ("texts[--two]", "--three", {"texts": ["--one", "--three"]}),
        ("texts[--one]", None, {"texts": ["--two"]}),
        ("fresh[1].a", 1, {"fresh": [{}, {"a": 1}]}),
    ],
)
def test_a_path_changes_what_it_names(path: str, value: Any, change: dict[str, Any]) -> None:
    given = deepcopy(BASE)
    set_at(given, path, value)
    assert given == {**BASE, **change}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("a..b", "empty"),
        ("a[", "not closed"),
        ("a[]", "not closed, or is empty"),
        ("list.name", "no map"),
        ("a[0]", "no list"),
        ("a.b.c", "no map"),
        ("list[99999].v", "no place"),
        ("list[-5]", "no place"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(path: str, reason: str) -> None:
    with pytest.raises(RefusedInputError, match=reason):
        set_at(deepcopy(BASE), path, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=5", ("a.b", 5)),
        ("a.b=true", ("a.b", True)),
        ("a=x=y", ("a", "x=y")),
        ("a=", ("a", None)),
        ('a="5"', ("a", "5")),
        ("a={b: [1, 2]}", ("a", {"b": [1, 2]})),
        ("a=*", ("a", "*")),
    ],
)
def test_an_assignment_is_read(text: str, expected: tuple[str, Any]) -> None:
    assert assignment(text) == expected


def test_what_is_no_assignment_is_refused() -> None:
    with pytest.raises(RefusedInputError, match="PATH=VALUE"):
        assignment("profile")
