"""Values of templates: what is true, what is equal, what is behind a field, and how a value is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from controlplane.gotemplate.errors import FunctionError


@runtime_checkable
class Record(Protocol):
    """A struct of Go's: it knows its fields by their names there."""

    def field(self, name: str) -> Any:  # noqa: ANN401 - any value
        """Return a field's value.

        Raises:
            KeyError: there is none of this name.
        """

    def plain(self) -> Any:  # noqa: ANN401 - JSON
        """Return it as JSON."""


class TextMap(dict[str, str]):
    """A map from text to text, in which what is not there is empty."""


NO_VALUE = "<no value>"
_SHORTEST_EXPONENT, _LONGEST_EXPONENT = -4, 6


def is_true(value: object) -> bool:
    """Whether a value is not the zero of its type."""
    if isinstance(value, Record):
        return True
    return bool(value)


def field(value: Any, name: str) -> Any:  # noqa: ANN401 - any value
    """Return a field of a value; what a map does not have is ``None``, of a ``TextMap`` an empty text.

    Raises:
        FunctionError: the value has no such field, or none at all.
    """
    match value:
        case TextMap():
            return value.get(name, "")
        case Mapping():
            return value.get(name)
        case Record():
            try:
                return value.field(name)
            except KeyError:
                raise FunctionError(f"can't evaluate field {name} in type {kind(value)}") from None
        case None if name == "GetValue":
            return False  # of a wrapper message that is not there
        case None:
            raise FunctionError(f"nil pointer evaluating interface {{}}.{name}")
        case bool() | int() if name == "GetValue":
            return value  # of a wrapper message
        case _:
            raise FunctionError(f"can't evaluate field {name} in type {kind(value)}")


def lacks(value: object, name: str) -> bool:
    """Whether a value is a map that has no such key."""
    return isinstance(value, Mapping) and not isinstance(value, TextMap) and name not in value


def kind(value: object) -> str:
    """Return the kind of a value, by Go's names."""
    match value:
        case None:
            return "invalid"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case Mapping():
            return "map"
        case list() | tuple():
            return "slice"
        case _:
            return "struct"


def printed(value: object, *, nested: bool = False) -> str:
    """Return a value as Go prints it."""
    match value:
        case None:
            return "<nil>" if nested else NO_VALUE
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return float_text(value)
        case Mapping():
            inner = " ".join(f"{key}:{printed(each, nested=True)}" for key, each in sorted(value.items()))
            return f"map[{inner}]"
        case list() | tuple():
            return f"[{' '.join(printed(each, nested=True) for each in value)}]"
        case _:
            raise FunctionError("a struct cannot be printed; name one of its fields, or use toJson or toYaml")


def float_text(value: float) -> str:
    """Return the shortest text of a number, as Go prints it: ``1.5``, ``1e+06``."""
    mantissa, _, power = f"{value!r}".partition("e")
    exponent = int(f"{value:e}".partition("e")[2] or 0)
    if _SHORTEST_EXPONENT <= exponent < _LONGEST_EXPONENT:
        return mantissa.removesuffix(".0") if not power else f"{value:f}".rstrip("0").rstrip(".")
    if not power:
        shortest = next(text for text in (f"{value:.{count}e}" for count in range(17)) if float(text) == value)
        mantissa, _, power = shortest.partition("e")
    sign = "-" if power.startswith("-") else "+"
    return f"{mantissa.removesuffix('.0')}e{sign}{power.lstrip('+-').lstrip('0').zfill(2)}"


def is_equal(one: object, other: object) -> bool:
    """Whether two basic values are equal.

    Raises:
        FunctionError: they are of kinds that cannot be compared.
    """
    if one is None or other is None:
        return one is other
    if _basic(one) != _basic(other):
        raise FunctionError("incompatible types for comparison")
    return one == other


def is_less(one: Any, other: Any) -> bool:  # noqa: ANN401 - any values
    """Whether a number or text comes before another.

    Raises:
        FunctionError: they are of kinds that cannot be compared.
    """
    if _basic(one) != _basic(other) or isinstance(one, bool):
        raise FunctionError("incompatible types for comparison")
    return bool(one < other)


def _basic(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case _:
            raise FunctionError(f"a {kind(value)} cannot be compared")


def extent(value: object, limit: int) -> int:
    """Return how many values a value holds, each as often as it would be printed; counting ends at a limit."""
    waiting: list[Any] = [value]
    count = 0
    while waiting and count < limit:
        each = waiting.pop()
        count += 1
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, (list, tuple)):
            waiting += each
        elif isinstance(each, str):
            count += len(each)
    return count


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a value as JSON: structs as maps of their fields."""
    match value:
        case Record():
            return value.plain()
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def elements(value: object) -> Iterable[tuple[Any, Any]]:
    """Return what a range goes over: keys and values, a map's sorted by key.

    Raises:
        FunctionError: the value holds no elements.
    """
    match value:
        case None:
            return ()
        case Mapping():
            return sorted(value.items())
        case list() | tuple():
            return enumerate(value)
        case bool():
            raise FunctionError(f"range can't iterate over {printed(value)}")
        case int():
            return ((each, each) for each in range(value))
        case _:
            raise FunctionError(f"range can't iterate over a {kind(value)}")
