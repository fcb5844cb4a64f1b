"""What the API server refuses by the published schema alone, as ``kubectl apply`` says with strict field validation.

The models read more than that: numbers as texts, the names that fields have in protobuf, ``null``. A person who asks is
told so; an object in a directory of files is read all the same. Rules in CEL are not looked at here: the models have
them. Reference: Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions", validation and pruning.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import re2

from controlplane.apis.crds.schema import Schema, model_schema
from controlplane.apis.kinds import KINDS
from controlplane.apis.problems import UNKNOWN, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOUNS = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def schema_problems(kind: str, spec: object, root: str) -> list[Problem]:
    """Return what of a ``spec`` does not fit the schema of its kind, in the order of what was written."""
    return list(_problems(_schema(kind), spec, root))


@cache
def _schema(kind: str) -> Schema:
    return model_schema(KINDS[kind].load())


@lru_cache(maxsize=256)
def _pattern(text: str) -> Any:  # noqa: ANN401 - the library has no types
    return re2.compile(text)


def _problems(schema: Schema, value: object, path: str) -> Iterator[Problem]:
    if value is None and schema.get("nullable"):
        return
    if _type_of(value) != schema["type"] and not (schema["type"] == "number" and type(value) is int):
        yield Problem(path, f"must be {_NOUNS[schema['type']]}, not {_noun(value)}")
        return
    if "enum" in schema and value not in schema["enum"]:
        yield Problem(path, f"must be one of {', '.join(schema['enum'])}")
    yield from _bounds(schema, value, path)
    if isinstance(value, dict):
        yield from _object(schema, value, path)
    elif isinstance(value, list):
        yield from _repeated(schema, value, path)
        for index, item in enumerate(value):
            yield from _problems(schema["items"], item, f"{path}[{index}]")


def _type_of(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case list() | tuple():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def _noun(value: object) -> str:
    return _NOUNS.get(_type_of(value), "null")


_SIZES = {"string": "Length", "array": "Items", "object": "Properties"}
_COUNTED = {"Length": "characters", "Items": "entries", "Properties": "entries"}


def _bounds(schema: Schema, value: Any, path: str) -> Iterator[Problem]:  # noqa: ANN401 - of the schema's type
    if not isinstance(value, str | list | dict):
        if "minimum" in schema and value < schema["minimum"]:
            yield Problem(path, f"must be at least {schema['minimum']}")
        if "maximum" in schema and value > schema["maximum"]:
            yield Problem(path, f"must be at most {schema['maximum']}")
        return
    size = _SIZES[schema["type"]]
    if f"min{size}" in schema and len(value) < schema[f"min{size}"]:
        yield Problem(path, f"must have at least {schema[f'min{size}']} {_COUNTED[size]}")
    if f"max{size}" in schema and len(value) > schema[f"max{size}"]:
        yield Problem(path, f"must have at most {schema[f'max{size}']} {_COUNTED[size]}")
    if "pattern" in schema and isinstance(value, str) and _pattern(schema["pattern"]).search(value) is None:
        yield Problem(path, f"must match {schema['pattern']}")


def _object(schema: Schema, value: dict[str, Any], path: str) -> Iterator[Problem]:
    for name in schema.get("required", ()):
        if name not in value:
            yield Problem(f"{path}.{name}", "is required")
    for alternatives in (schema.get("oneOf"), *(each["oneOf"] for each in schema.get("allOf", ()))):
        if alternatives is not None:
            names = [each["required"][0] for each in alternatives if "required" in each]
            given = [name for name in names if name in value]
            if len(given) > 1:
                yield Problem(path, f"only one of {', '.join(names)} can be set")
    properties = schema.get("properties", {})
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    values = schema.get("additionalProperties")
    for name, each in value.items():
        child = properties.get(name, values)
        if child is None:
            yield Problem(f"{path}.{name}", UNKNOWN)
        else:
            yield from _problems(child, each, f"{path}.{name}")


def _repeated(schema: Schema, value: list[Any], path: str) -> Iterator[Problem]:
    """Entries of a list that is a map by some of its fields, where one has the fields of an earlier one."""
    keys = schema.get("x-kubernetes-list-map-keys")
    seen: set[tuple[str, ...]] = set()
    for index, item in enumerate(value if keys is not None and len(value) > 1 else ()):
        key = tuple(repr(item.get(name)) for name in keys or ()) if isinstance(item, dict) else (repr(item),)
        if key in seen:
            yield Problem(f"{path}[{index}]", f"has the {' and '.join(keys or ())} of an earlier entry")
        seen.add(key)
