"""From a problem's path to what was written there, and its line."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controlplane.documents.places import Lines, Steps, steps, value_text

TEXT = """\
spec:
  hosts:
  - a
  - b.c
  http:
  - match:
    - headers:
        x-a.b:
          regex: "("
    timeout: 0s
"""
VALUE: dict[str, Any] = yaml.safe_load(TEXT)


@pytest.mark.parametrize(
    ("path", "way", "is_there", "line"),
    [
        pytest.param("", (), True, 1, id="all"),
        pytest.param("spec", ("spec",), True, 1, id="key"),
        pytest.param("spec.hosts[1]", ("spec", "hosts", 1), True, 4, id="item"),
        pytest.param(
            "spec.http[0].match[0].headers.x-a.b.regex",
            ("spec", "http", 0, "match", 0, "headers", "x-a.b", "regex"),
            True,
            9,
            id="key-with-dots",
        ),
        pytest.param("spec.http[0].retries.attempts", ("spec", "http", 0), False, 6, id="missing"),
        pytest.param("spec.hosts[2]", ("spec", "hosts"), False, 2, id="beyond-the-list"),
        pytest.param("spec.host", ("spec",), False, 1, id="beginning-of-a-key"),
        pytest.param("spec.hosts.x", ("spec", "hosts"), False, 2, id="key-of-a-list"),
        pytest.param("metadata.name", (), False, 1, id="nothing"),
    ],
)
def test_steps(path: str, way: Steps, *, is_there: bool, line: int) -> None:
    assert steps(VALUE, path) == (way, is_there)
    assert Lines(TEXT).line(way) + 1 == line


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("spec.http[0].timeout", "'0s'"),
        ("spec.hosts", ""),
        ("spec.http[0].retries", ""),
        ("", ""),
    ],
)
def test_value_text(path: str, text: str) -> None:
    """Only what fits into a sentence is quoted."""
    assert value_text(VALUE, path) == text


def test_a_long_value_is_cut() -> None:
    assert value_text({"a": "x" * 1000}, "a") == f"'{'x' * 79}..."
