"""Every field of the custom resources has its place in the models, with the same type and bounds."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from controlplane.apis.common import ApiModel
from controlplane.apis.kinds import KINDS

_TOKEN = re.compile(r"\w+|\[\]|\{\}")


def _facts() -> list[tuple[str, str, str]]:
    """(kind, path, type with constraints), from the list of facts."""
    found, kind = [], ""
    for line in (Path(__file__).parent / "crd_fields.txt").read_text().splitlines():
        if line.startswith(("  column", "  top-level", "  (spec)")):
            continue  # see test_crds
        if line.startswith("  "):
            path, _, rest = line.strip().partition(": ")
            found.append((kind, path, rest))
        elif line and not line.startswith("#"):
            kind = line.split()[0]
    return found


def _plain(annotation: Any) -> Any:
    """The type without ``Annotated`` and ``| None``."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in {typing.Union, types.UnionType}:
            annotation = next(each for each in typing.get_args(annotation) if each is not type(None))
        else:
            return annotation


def _type_of(kind: str, path: str) -> Any:
    here: Any = KINDS[kind].load()
    for token in _TOKEN.findall(path):
        here = _plain(here)
        if token == "[]":
            here = typing.get_args(here)[0]
        elif token == "{}":
            here = typing.get_args(here)[1]
        else:
            fields = here.model_fields
            here = next(field.annotation for name, field in fields.items() if token in {field.alias, name})
    return _plain(here)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_exists_with_its_type(kind: str) -> None:
    for owner, path, facts in _facts():
        if owner != kind:
            continue
        declared, got = facts.split(" ; ")[0], _type_of(kind, path)
        if declared == "boolean":
            assert got is bool, path
        elif declared == "integer":
            assert got is int, path
        elif declared == "number":
            assert got is float, path
        elif declared == "array":
            assert typing.get_origin(got) is tuple, path
        elif declared == "object":
            is_model = isinstance(got, type) and issubclass(got, ApiModel)
            assert is_model or typing.get_origin(got) is dict, path


def test_the_list_of_facts_is_whole() -> None:
    assert {kind for kind, _, _ in _facts()} == set(KINDS)
    assert len(_facts()) == 1200


def test_enums_have_the_same_members() -> None:
    for kind, path, facts in _facts():
        named = re.search(r"enum (\S+)", facts)
        if named:
            got = _type_of(kind, path)
            assert issubclass(got, StrEnum), (kind, path)
            assert set(got) == set(named[1].split("|")), (kind, path)


def test_required_fields_are_required() -> None:
    """Where the facts name required fields, the model says so for each that is left out."""
    seen = 0
    for kind, path, facts in _facts():
        named = re.search(r"required: (\S+)", facts)
        if named:
            model = _type_of(kind, path)
            required = {field.alias for field in model.model_fields.values() if field.is_required()}
            assert required == set(named[1].split(",")), (kind, path)
            seen += 1
    assert seen > 50


def _annotation(kind: str, path: str) -> Any:
    """The type of a field with all its bounds."""
    parent, _, name = path.rpartition(".")
    leaf = re.match(r"(\w+)(.*)", name)
    assert leaf is not None
    owner: Any = _type_of(kind, parent) if parent else KINDS[kind].load()
    field = next(field for own, field in owner.model_fields.items() if leaf[1] in {field.alias, own})
    annotation: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    for token in _TOKEN.findall(leaf[2]):
        inner = typing.get_args(_plain(annotation))[0 if token == "[]" else 1]
        annotation = inner
    return annotation


_BREAKS: list[tuple[str, Callable[[str], Any]]] = [
    (r"maxLength (\d+)", lambda bound: "x" * (int(bound) + 1)),
    (r"minLength (\d+)", lambda _: ""),
    (r"minimum (\d+)", lambda bound: int(bound) - 1),
    (r"maximum (\d+)", lambda bound: int(bound) + 1),
    (r"format int32()", lambda _: 2**31),
    (r"maxProperties (\d+)", lambda bound: {f"k{index}": "v" for index in range(int(bound) + 1)}),
    (r"minItems (\d+)", lambda _: []),
    (r"pattern (\S+)", lambda _: "!"),
    (r"(duration\(self\) >=)", lambda _: "999us"),
    (r"(0 < self && self <= 65535)", lambda _: 70000),
    (r"(wildcard)", lambda _: "*"),
    (r"(cross namespace)", lambda _: "other"),
    (r"(url must have)", lambda _: "ftp://x"),
    (r"(UDS must be an absolute path)", lambda _: "unix://relative"),
    (r"(UDS may not be a dir)", lambda _: "unix:///run/"),
    (r"(scheme must be one of)", lambda _: "http"),
]


def test_bounds_are_enforced() -> None:
    """A value just beyond each length, number, pattern and rule of a field is refused."""
    tried = 0
    for kind, path, facts in _facts():
        kind_of_value = facts.split(" ; ")[0]
        for pattern, broken in _BREAKS:
            found = re.search(pattern, facts)
            if found is None or (pattern == "(wildcard)" and kind_of_value != "string"):
                continue
            value = broken(found[1])
            assert _refused(_annotation(kind, path), value), f"{kind} {path} takes {value!r:.60} against {facts}"
            tried += 1
    assert tried > 400


def _refused(annotation: Any, value: Any) -> bool:
    try:
        _adapter(annotation).validate_python(value)
    except ValidationError:
        return True
    return False


_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    key = repr(annotation)
    if key not in _ADAPTERS:
        _ADAPTERS[key] = TypeAdapter(annotation)
    return _ADAPTERS[key]
