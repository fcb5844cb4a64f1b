"""YAML and JSON text becomes the values that Kubernetes' loader would give."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.documents.json_reader import json_documents
from controlplane.documents.limits import Document, Unreadable, UnreadableError
from controlplane.documents.yaml_reader import chunks, yaml_documents, yaml_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("true", True, id="true"),
        pytest.param("yes", True, id="yes-is-true"),
        pytest.param("Off", False, id="off-is-false"),
        pytest.param("y", True, id="y-is-true"),
        pytest.param("N", False, id="n-is-false"),
        pytest.param("~", None, id="null"),
        pytest.param("2024-01-01", "2024-01-01", id="date-is-text"),
        pytest.param("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", id="time-is-text"),
        pytest.param("12:30:15", "12:30:15", id="no-base-60"),
        pytest.param("0777", 511, id="octal"),
        pytest.param("-0x1F", -31, id="hexadecimal"),
        pytest.param("1_000", 1000, id="underscore"),
        pytest.param("1e3", 1000, id="whole-float-is-integer"),
        pytest.param("0.5", 0.5, id="float"),
        pytest.param("1e999", "1e999", id="no-infinity"),
        pytest.param("9" * 5000, "9" * 5000, id="absurd-integer"),
        pytest.param("=", "=", id="equals-sign"),
        pytest.param("'5'", "5", id="quoted"),
        pytest.param("!!str 5", "5", id="text-tag"),
        pytest.param("!!int '5'", 5, id="integer-tag"),
        pytest.param("10.0.0.1", "10.0.0.1", id="address"),
        pytest.param("{80: a, on: b}", {"80": "a", "true": "b"}, id="keys-are-text"),
        pytest.param(
            "{a: &x {p: 1, q: 1}, b: {<<: *x, q: 2}}", {"a": {"p": 1, "q": 1}, "b": {"q": 2, "p": 1}}, id="merge"
        ),
        pytest.param("{a: &x [1], b: *x}", {"a": [1], "b": [1]}, id="alias"),
        pytest.param("[1.2.3.4, 2001:db8::]", ["1.2.3.4", "2001:db8::"], id="address-between-brackets"),
        pytest.param("{a: 2001:db8::, b: '::]'}", {"a": "2001:db8::", "b": "::]"}, id="address-in-a-flow-mapping"),
        pytest.param('{"a": {"b": [1]}, "c": [{}]}', {"a": {"b": [1]}, "c": [{}]}, id="json"),
        pytest.param("!!bool yes", True, id="boolean-tag"),
    ],
)
def test_value(text: str, value: Any) -> None:
    """Plain scalars follow YAML 1.1 as Kubernetes reads it, and the result is JSON's."""
    assert yaml_documents(text + "\n") == [Document(value, 1)]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        pytest.param("a: 1\nb: [1\nc: 2\n", 3, "did not find expected ',' or ']'", id="syntax"),
        pytest.param("a: b\n\x01\n", 2, "control characters are not allowed", id="control-character"),
        pytest.param("[" * 100_000, 1, "nested deeper than 100 levels", id="nesting"),
        pytest.param("\n? [a]\n: b\n", 2, "a mapping key must be text", id="list-as-key"),
        pytest.param("!!set {a}", 1, "tag tag:yaml.org,2002:set is not allowed", id="set"),
        pytest.param("!!python/object:os.system {a: 1}", 1, "python/object", id="python"),
        pytest.param("a: !secret b", 1, "tag !secret is not allowed", id="unknown-tag"),
        pytest.param("a: !!bool maybe", 1, "'maybe' is no value of the tag", id="no-boolean"),
        pytest.param("a: !!int x", 1, "'x' is no value of the tag", id="no-integer"),
        pytest.param("a: !!timestamp x", 1, "tag tag:yaml.org,2002:timestamp is not allowed", id="timestamp"),
        pytest.param("a: \ud800", 1, "half of a surrogate pair", id="surrogate"),
        pytest.param("a: &x [*x]", 1, "alias 'x' names no finished anchor", id="contains-itself"),
        pytest.param("a: *x", 1, "'x'", id="unknown-alias"),
        pytest.param("a: {<<: [1]}", 1, "only mappings can be merged", id="merge-of-number"),
    ],
)
def test_unreadable(text: str, line: int, reason: str) -> None:
    """A mistake is told with its line; nothing is raised."""
    (found,) = yaml_documents(text)
    assert isinstance(found, Unreadable)
    assert found.line == line
    assert reason in found.reason


def test_alias_bomb_is_refused_before_it_is_expanded() -> None:
    """Ten levels of ten aliases would be ten thousand million values."""
    bomb = "a0: &a0 [" + ",".join("x" * 10) + "]\n"
    bomb += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert yaml_documents(bomb) == [Unreadable(5, "aliases multiply the document beyond reason")]


def test_aliases_of_a_long_text_are_counted_by_its_length() -> None:
    """Few values may be many bytes."""
    text = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]\n"
    assert yaml_documents(text) == [Unreadable(2, "aliases multiply the document beyond reason")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("[" * 100_000, "line 1: nested deeper than 100 levels", id="nesting"),
        pytest.param("x" * 2_000_000, "is longer than 1000000 characters", id="length"),
        pytest.param("a: [\n", "line 2: did not find expected node content", id="syntax"),
    ],
)
def test_no_setting(text: str, reason: str) -> None:
    """Where one value is asked for there is one kind of error."""
    with pytest.raises(UnreadableError, match=reason):
        yaml_value(text)


def test_a_setting() -> None:
    assert [yaml_value(text) for text in ("", "# nothing", "a: 1", "a: 1\n---\nb: [")] == [
        None,
        None,
        {"a": 1},
        {"a": 1},
    ]


def test_repeated_key_is_a_warning_and_the_last_counts() -> None:
    """As Kubernetes does when it is not strict."""
    (found,) = yaml_documents("a: 1\nb: 2\na: 3\n")
    assert isinstance(found, Document)
    assert found.value == {"a": 3, "b": 2}
    assert found.warnings == ("key 'a' is repeated on line 3 of the document; the last one is used",)


def test_merged_key_is_not_a_repeated_key() -> None:
    """A key of the mapping wins over a merged one without a warning."""
    (found,) = yaml_documents("base: &b {a: 1}\nuse:\n  <<: *b\n  a: 2\n")
    assert found == Document({"base": {"a": 1}, "use": {"a": 2}}, 1)


def test_chunks_begin_at_markers_and_know_their_lines() -> None:
    """Only a whole ``---`` is a marker; blank pieces are left out."""
    text = "a: 1\n---\n---\nb: |\n  --- text\n--- # c\nc: 2\n---x: 3\n"
    assert chunks(text) == [(1, "a: 1\n"), (3, "---\nb: |\n  --- text\n"), (6, "--- # c\nc: 2\n---x: 3\n")]


def test_directives_stay_with_their_document() -> None:
    """A directive stands before the marker of the document it belongs to."""
    text = "%YAML 1.1\n---\na: 1\n---\nb: 2\n"
    assert chunks(text) == [(1, text)]
    assert [document.value for document in yaml_documents(text) if isinstance(document, Document)] == [
        {"a": 1},
        {"b": 2},
    ]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        pytest.param('{\n"a": }', 2, "Expecting value", id="syntax"),
        pytest.param('{"a": NaN}', 1, "NaN is not a JSON value", id="nan"),
        pytest.param("[" * 100_000, 1, "nested deeper", id="nesting"),
        pytest.param("9" * 10_000, 1, "integer", id="absurd-integer"),
    ],
)
def test_unreadable_json(text: str, line: int, reason: str) -> None:
    """JSON mistakes are values too."""
    (found,) = json_documents(text)
    assert isinstance(found, Unreadable)
    assert found.line == line
    assert reason in found.reason


def test_json_repeated_key() -> None:
    """As in YAML."""
    assert json_documents('{"a": 1, "a": 2}') == [Document({"a": 2}, 1, ("key 'a' is repeated; the last one is used",))]
