"""Functions of sprig on values, lists, maps and numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.gotemplate.arguments import MAX_ELEMENTS, integer, items, mapping, number, text
from controlplane.gotemplate.errors import FunctionError
from controlplane.gotemplate.sprig_texts import shown
from controlplane.gotemplate.values import TextMap, is_true, kind, plain

_INDENT = 2


def _fail(message: Any) -> None:  # noqa: ANN401 - any value
    raise FunctionError(text(message))


def _default(otherwise: Any, *given: Any) -> Any:  # noqa: ANN401 - any values
    return given[0] if given and is_true(given[0]) else otherwise


def _coalesced(*values: Any) -> Any:  # noqa: ANN401 - any values
    return next((each for each in values if is_true(each)), None)


def _raw_json(value: Any) -> str:  # noqa: ANN401 - any value
    return json.dumps(plain(value), separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _escaped(text_of_json: str) -> str:
    """Return JSON in which nothing could be taken for HTML, as Go writes it."""
    return text_of_json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _json(value: Any) -> str:  # noqa: ANN401 - any value
    return _escaped(_raw_json(value))


def _pretty(value: Any) -> str:  # noqa: ANN401 - any value
    return _escaped(json.dumps(plain(value), indent=_INDENT, sort_keys=True, ensure_ascii=False))


def _read(value: Any) -> Any:  # noqa: ANN401 - any values
    try:
        return json_value(text(value))
    except UnreadableError:
        return None


def _must_read(value: Any) -> Any:  # noqa: ANN401 - any values
    try:
        return json_value(text(value))
    except UnreadableError as error:
        raise FunctionError(str(error)) from error


# --- lists


def _numbers(start: Any, end: Any, step: Any) -> list[int]:  # noqa: ANN401 - any values
    if integer(step) == 0:
        return []
    found = range(integer(start), integer(end), integer(step))
    if len(found) > MAX_ELEMENTS:
        raise FunctionError(f"makes more than {MAX_ELEMENTS} elements")
    return list(found)


def _until(count: Any) -> list[int]:  # noqa: ANN401 - any value
    return _numbers(0, count, 1 if integer(count) >= 0 else -1)


def _unique(value: Any) -> list[Any]:  # noqa: ANN401 - any values
    found: list[Any] = []
    given = items(value)
    if len(given) > MAX_ELEMENTS:
        raise FunctionError(f"takes at most {MAX_ELEMENTS} elements")
    for each in given:
        if each not in found:
            found.append(each)
    return found


def _joined_lists(*lists: Any) -> list[Any]:  # noqa: ANN401 - any values
    return [each for one in lists for each in items(one)]


def _sliced(value: Any, *at: Any) -> list[Any]:  # noqa: ANN401 - any values
    found, places = items(value), [integer(each) for each in at]
    return found[slice(*[*places, None][:2])] if places else found


# --- maps


def _map(*pairs: Any) -> dict[str, Any]:  # noqa: ANN401 - any values
    padded = [*pairs, ""] if len(pairs) % 2 else list(pairs)
    return {shown(key): value for key, value in zip(padded[::2], padded[1::2], strict=True)}


def _get(value: Any, key: Any) -> Any:  # noqa: ANN401 - any values
    return mapping(value).get(text(key), "")


def _set(value: Any, key: Any, new: Any) -> Any:  # noqa: ANN401 - any values
    if not isinstance(value, dict):
        raise FunctionError(f"wrong type for value; expected map; got {kind(value)}")
    value[text(key)] = new
    return value


def _unset(value: Any, key: Any) -> Any:  # noqa: ANN401 - any values
    if not isinstance(value, dict):
        raise FunctionError(f"wrong type for value; expected map; got {kind(value)}")
    value.pop(text(key), None)
    return value


def _merged(*maps: Any) -> dict[str, Any]:  # noqa: ANN401 - any values
    """Merge maps into the first; what it has stays."""
    return _merged_over(*reversed(maps))


def _merged_over(*maps: Any) -> dict[str, Any]:  # noqa: ANN401 - any values
    """Merge maps; a later one goes before an earlier."""
    result: dict[str, Any] = {}
    for each in maps:
        result = _laid(result, mapping(each))
    return result


def _laid(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        inner = result.get(key)
        result[key] = _laid(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return result


def _dug(*path: Any) -> Any:  # noqa: ANN401 - any values
    """Follow keys into the last argument; the one before it stands where one is missing."""
    if len(path) < 3:  # noqa: PLR2004 - a key, a default, a map
        raise FunctionError("dig needs at least three arguments")
    *keys, otherwise, value = path
    for key in keys:
        if not isinstance(value, Mapping) or text(key) not in value:
            return otherwise
        value = value[key]
    return value


def _some(value: Any, keys: tuple[Any, ...], *, kept: bool) -> dict[str, Any]:  # noqa: ANN401 - any values
    found = mapping(value)
    names = {text(key) for key in keys}
    chosen = {key: each for key, each in found.items() if (key in names) is kept}
    return TextMap(chosen) if isinstance(value, TextMap) else chosen


# --- numbers


def _int64(value: int) -> int:
    """Return a number as 64 bits hold it."""
    return (value + 2**63) % 2**64 - 2**63


def _product(*values: Any) -> int:  # noqa: ANN401 - any values
    product = 1
    for each in values:
        product = _int64(product * integer(each))
    return product


def _divided(one: Any, other: Any) -> int:  # noqa: ANN401 - any values
    if integer(other) == 0:
        raise FunctionError("integer divide by zero")
    quotient = abs(integer(one)) // abs(integer(other))
    return quotient if (integer(one) < 0) is (integer(other) < 0) else -quotient


def _rest(one: Any, other: Any) -> int:  # noqa: ANN401 - any values
    return integer(one) - _divided(one, other) * integer(other)


def _rounded(value: Any, digits: Any, *_: Any) -> float:  # noqa: ANN401 - any values
    scale = 10.0 ** min(max(integer(digits), 0), 15)
    return math.floor(number(value) * scale + 0.5) / scale


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "default": _default,
    "empty": lambda value: not is_true(value),
    "coalesce": _coalesced,
    "all": lambda *values: all(map(is_true, values)),
    "any": lambda *values: any(map(is_true, values)),
    "ternary": lambda one, other, test: one if is_true(test) else other,
    "fail": _fail,
    "required": lambda message, value: value if value not in (None, "") else _fail(message),
    "kindOf": kind,
    "kindIs": lambda name, value: text(name) == kind(value),
    "typeOf": kind,
    "typeIs": lambda name, value: text(name) == kind(value),
    "toJson": _json,
    "toPrettyJson": _pretty,
    "toRawJson": _raw_json,
    "fromJson": _read,
    "mustFromJson": _must_read,
    "mustToJson": _json,
    "deepCopy": deepcopy,
    "list": lambda *values: list(values),
    "tuple": lambda *values: list(values),
    "first": lambda value: items(value)[0] if items(value) else None,
    "last": lambda value: items(value)[-1] if items(value) else None,
    "rest": lambda value: items(value)[1:],
    "initial": lambda value: items(value)[:-1],
    "append": lambda value, each: [*items(value), each],
    "push": lambda value, each: [*items(value), each],
    "prepend": lambda value, each: [each, *items(value)],
    "concat": _joined_lists,
    "reverse": lambda value: items(value)[::-1],
    "uniq": _unique,
    "without": lambda value, *unwanted: [each for each in items(value) if each not in unwanted],
    "has": lambda each, value: value is not None and each in items(value),
    "compact": lambda value: [each for each in items(value) if is_true(each)],
    "sortAlpha": lambda value: sorted(shown(each) for each in items(value)),
    "toStrings": lambda value: [shown(each) for each in items(value)],
    "slice": _sliced,
    "until": _until,
    "untilStep": _numbers,
    "dict": _map,
    "get": _get,
    "set": _set,
    "unset": _unset,
    "hasKey": lambda value, key: text(key) in mapping(value),
    "keys": lambda *maps: [key for each in maps for key in mapping(each)],
    "values": lambda value: list(mapping(value).values()),
    "pluck": lambda key, *maps: [mapping(each)[text(key)] for each in maps if text(key) in mapping(each)],
    "pick": lambda value, *keys: _some(value, keys, kept=True),
    "omit": lambda value, *keys: _some(value, keys, kept=False),
    "merge": _merged,
    "mergeOverwrite": _merged_over,
    "dig": _dug,
    "add": lambda *values: _int64(sum(map(integer, values))),
    "add1": lambda value: _int64(integer(value) + 1),
    "sub": lambda one, other: _int64(integer(one) - integer(other)),
    "mul": _product,
    "div": _divided,
    "mod": _rest,
    "max": lambda *values: max(map(integer, values), default=0),
    "min": lambda *values: min(map(integer, values), default=0),
    "floor": lambda value: float(math.floor(number(value))),
    "ceil": lambda value: float(math.ceil(number(value))),
    "round": _rounded,
    "int": integer,
    "int64": integer,
    "float64": number,
    "atoi": integer,
    "toDecimal": lambda value: int(shown(value), 8) if shown(value).isdigit() else 0,
}
"""By name."""
