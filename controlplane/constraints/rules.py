"""The rules that Envoy's protos state of their fields, as functions of values.

They stand in the descriptors, as the extension option ``validate.rules`` of fields and ``validate.required`` of
oneofs. Each rule becomes a test that returns the reason why a value is wrong, in English, or an empty text.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import re2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from validate import validate_pb2


class Test(NamedTuple):
    """Whether a value is right, and the reason where it is not."""

    is_right: Callable[[Any], bool]
    reason: str


_NUMBERS = frozenset(
    {
        *("float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64"),
        *("fixed32", "fixed64", "sfixed32", "sfixed64"),
    }
)
_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "gt": (operator.gt, "more than"),
    "gte": (operator.ge, "at least"),
    "lt": (operator.lt, "less than"),
    "lte": (operator.le, "at most"),
}
NAME = validate_pb2.HTTP_HEADER_NAME
HEADER_TEXTS = {
    (validate_pb2.HTTP_HEADER_NAME, True): r":?[0-9a-zA-Z!#$%&'*+-.^_|~`]+",
    (validate_pb2.HTTP_HEADER_NAME, False): r"[^\x00\n\r]*",
    (validate_pb2.HTTP_HEADER_VALUE, True): r"[^\x00-\x08\n-\x1f\x7f]*",
    (validate_pb2.HTTP_HEADER_VALUE, False): r"[^\x00\n\r]*",
}
_NO_TEST = frozenset({"strict", "ignore_empty", "required", "skip", "items", "keys", "values", "no_sparse"})


class UnknownRuleError(NotImplementedError):
    """A descriptor states a rule that is not known here: the library of messages is newer."""


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules | None:
    """Return what the descriptor states of a field, ``None`` for nothing."""
    options = field.GetOptions()
    return options.Extensions[validate_pb2.rules] if options.HasExtension(validate_pb2.rules) else None


def is_required(rules: validate_pb2.FieldRules) -> bool:
    """Whether a message must be there."""
    kind = rules.WhichOneof("type")
    if kind in {"duration", "timestamp", "any"}:
        return bool(getattr(rules, kind).required)
    return bool(rules.message.required)


def ignores_empty(rules: validate_pb2.FieldRules) -> bool:
    """Whether an empty value is right whatever the other rules say."""
    kind = rules.WhichOneof("type")
    return bool(kind) and bool(getattr(getattr(rules, kind), "ignore_empty", False))


def tests_of(rules: validate_pb2.FieldRules, field: FieldDescriptor) -> tuple[Test, ...]:
    """Return the tests of one value of a field, or of the whole of a repeated one (but not of its elements).

    Raises ``UnknownRuleError``.
    """
    kind = rules.WhichOneof("type")
    if kind is None or kind == "message":
        return ()
    stated = getattr(rules, kind)
    return tuple(_tests(kind, stated, field))


def _tests(kind: str, stated: Any, field: FieldDescriptor) -> Iterator[Test]:  # noqa: ANN401 - generated messages
    for rule, limit in stated.ListFields():
        name = rule.name
        if name in _NO_TEST:
            continue
        if name in _COMPARISONS and (kind in _NUMBERS or kind == "duration"):
            yield _comparison(name, limit)
        elif name in _MEASURES:
            yield _measured(name, limit)
        elif kind == "string" and name == "well_known_regex":
            strict = stated.strict if stated.HasField("strict") else True
            yield _pattern(HEADER_TEXTS[limit, strict], _is_plain_name if limit == NAME and strict else str.isprintable)
        elif name in _SIMPLE:
            yield _SIMPLE[name](limit)
        elif name == "defined_only" and field.enum_type is not None:
            known = frozenset(field.enum_type.values_by_number)
            yield Test(known.__contains__, "is no value of the enumeration")
        else:
            raise UnknownRuleError(f"{field.full_name}: {kind}.{name}")


def nanoseconds(duration: Duration) -> int:
    """Return the length, exactly; ``Duration.ToTimedelta`` overflows."""
    return int(duration.seconds) * 1_000_000_000 + int(duration.nanos)


_NUMERIC: dict[str, Callable[[Any], Callable[[Any], bool]]] = {
    "gt": lambda limit: lambda value: value > limit,
    "gte": lambda limit: lambda value: value >= limit,
    "lt": lambda limit: lambda value: value < limit,
    "lte": lambda limit: lambda value: value <= limit,
}


def _comparison(name: str, limit: Any) -> Test:  # noqa: ANN401 - a number or a duration
    compare, words = _COMPARISONS[name]
    if isinstance(limit, Duration):
        bound, text = nanoseconds(limit), limit.ToJsonString()
        return Test(lambda value: compare(nanoseconds(value), bound), f"must be {words} {text}")
    return Test(_NUMERIC[name](limit), f"must be {words} {limit:g}")


_MEASURES: dict[str, tuple[Callable[[Any], int], Callable[[Any, Any], bool], str]] = {
    "min_len": (len, operator.ge, "must have at least {} of characters"),
    "max_len": (len, operator.le, "must have at most {} of characters"),
    "len": (len, operator.eq, "must have {} characters"),
    "min_bytes": (lambda text: len(text.encode()), operator.ge, "must have at least {} bytes"),
    "max_bytes": (lambda text: len(text.encode()), operator.le, "must have at most {} bytes"),
    "len_bytes": (lambda text: len(text.encode()), operator.eq, "must have {} bytes"),
    "min_items": (len, operator.ge, "must have at least {} elements"),
    "max_items": (len, operator.le, "must have at most {} elements"),
    "min_pairs": (len, operator.ge, "must have at least {} entries"),
    "max_pairs": (len, operator.le, "must have at most {} entries"),
}


def _measured(name: str, limit: int) -> Test:
    measure, compare, words = _MEASURES[name]
    if name == "min_len" and limit == 1:
        return Test(bool, "must not be empty")
    return Test(lambda value: compare(measure(value), limit), words.format(limit).replace(" of ", " "))


def _pattern(pattern: str, is_plain: Callable[[str], bool]) -> Test:
    """Test a whole text; ``is_plain`` knows most of those that match, fifty times faster than the expression."""
    compiled = re2.compile(pattern)
    return Test(lambda value: is_plain(value) or compiled.fullmatch(value) is not None, f"must match {pattern}")


def _is_plain_name(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").isalnum()


def _searched(pattern: str) -> Test:
    compiled = re2.compile(pattern)
    return Test(lambda value: compiled.search(value) is not None, f"must match {pattern}")


def _outside(unwanted: frozenset[Any]) -> Callable[[Any], bool]:
    return lambda value: value not in unwanted


_SIMPLE: dict[str, Callable[[Any], Test]] = {
    "const": lambda limit: Test(lambda value: bool(value == limit), f"must be {limit}"),
    "in": lambda limit: Test(frozenset(limit).__contains__, f"must be one of {', '.join(map(str, limit))}"),
    "not_in": lambda limit: Test(_outside(frozenset(limit)), f"must not be one of {', '.join(map(str, limit))}"),
    "prefix": lambda limit: Test(lambda value: bool(value.startswith(limit)), f"must begin with {limit!r}"),
    "suffix": lambda limit: Test(lambda value: bool(value.endswith(limit)), f"must end with {limit!r}"),
    "contains": lambda limit: Test(lambda value: limit in value, f"must contain {limit!r}"),
    "not_contains": lambda limit: Test(lambda value: limit not in value, f"must not contain {limit!r}"),
    "pattern": _searched,
    "unique": lambda _: Test(lambda values: len(set(values)) == len(values), "must not have equal elements"),
}
