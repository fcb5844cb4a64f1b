"""What is written as YAML is read as what it was."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.documents.yaml_reader import yaml_value
from controlplane.documents.yaml_writer import readable_yaml, yaml_text

VALUES: list[Any] = [
    {"y": "y", "no": "no", "list": ["on", "n", "~", "", "null", "1", "1.0", "0x1f", "12:30", "2001:db8::", "true"]},
    {"lines": "a\n  b\n", "tabs": "a\tb", "colon": "a: b", "hash": "a #b", "long": "word " * 200, "nothing": None},
    {"numbers": [1, -1, 1.5, 0], "flags": [True, False], "empty": [{}, [], ""], "unicode": "ü ✔", "control": "\x07"},
]


@pytest.mark.parametrize("write", [yaml_text, readable_yaml])
@pytest.mark.parametrize("value", VALUES)
def test_values_come_back(value: Any, write: Any) -> None:
    assert yaml_value(write(value)) == value


def test_a_value_that_stands_twice_is_written_twice() -> None:
    shared = {"a": "b"}
    assert yaml_text([shared, shared]) == "- a: b\n- a: b"


def test_texts_of_several_lines_are_written_as_such() -> None:
    assert readable_yaml({"b": "one\ntwo\n", "a": "1"}) == "b: |\n  one\n  two\na: '1'\n"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (5, "5"), ("a", "a"), ("...", "'...'"), (True, "true"), ([], "[]")]
)
def test_a_bare_value_has_no_end_of_a_document(value: object, text: str) -> None:
    """A template puts it into the middle of a line."""
    assert yaml_text(value) == text
