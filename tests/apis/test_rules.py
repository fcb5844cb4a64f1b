"""The rules of each kind, one row a rule: what is refused, and where."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from controlplane.model.objects import Rejected
from controlplane.model.parse import Parsed, parse
from tests.apis.rule_tables import BAD, GOOD, WARNED
from tests.apis.specs import Rows


def rows(tables: dict[str, Rows]) -> list[Any]:
    return [
        pytest.param(kind, spec, problem, id=f"{kind}-{name}")
        for kind, table in tables.items()
        for name, (spec, problem) in table.items()
    ]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param(kind, spec, id=f"{kind}-{index}")
        for kind, specs in GOOD.items()
        for index, spec in enumerate(specs)
    ],
)
def test_accepted(kind: str, spec: dict[str, Any]) -> None:
    got = parse(kind, {"metadata": {"name": "x"}, "spec": deepcopy(spec)}, strict=True)
    assert isinstance(got, Parsed), got


@pytest.mark.parametrize(("kind", "spec", "problem"), rows(BAD))
def test_refused(kind: str, spec: dict[str, Any], problem: str) -> None:
    got = parse(kind, {"metadata": {"name": "x"}, "spec": deepcopy(spec)})
    assert isinstance(got, Rejected), got
    assert any(each.startswith(problem) for each in got.problems), got.problems


@pytest.mark.parametrize(("kind", "spec", "warning"), rows(WARNED))
def test_warned(kind: str, spec: dict[str, Any], warning: str) -> None:
    got = parse(kind, {"metadata": {"name": "x"}, "spec": deepcopy(spec)})
    assert isinstance(got, Parsed), got
    assert any(each.startswith(warning) for each in got.warnings), got.warnings
