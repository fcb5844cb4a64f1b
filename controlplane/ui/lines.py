"""A value as lines of YAML, each with the path of its field: written one by one, since a value may be large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from controlplane.documents.scalars import plain

_INDENT = "  "
_LONGEST_PLAIN = 200


class Line(NamedTuple):
    """One line; ``path`` is that of the field which begins on it, as problems name it (``spec.http[0].route``)."""

    text: str
    path: str


def lines(value: Any, path: str = "", before: str = "", first: str = "") -> Iterator[Line]:  # noqa: ANN401 - any JSON value
    """Yield the lines of a value that is no scalar.

    ``before`` is the indentation of its lines, and ``first`` what stands in its place on the first of them.
    """
    head = first or before
    if isinstance(value, dict):
        for name, held in value.items():
            inner = f"{path}.{name}" if path else name
            yield from _member(f"{head}{_scalar(name)}:", held, inner, before)
            head = before
    else:
        for place, held in enumerate(value):
            inner = f"{path}[{place}]"
            if isinstance(held, dict | list) and held:
                yield from lines(held, inner, f"{before}{_INDENT}", f"{head}- ")
            else:
                yield Line(f"{head}- {_empty_or_scalar(held)}", inner)
            head = before


def _member(name: str, held: Any, path: str, before: str) -> Iterator[Line]:  # noqa: ANN401 - as above
    if not (isinstance(held, dict | list) and held):
        yield Line(f"{name} {_empty_or_scalar(held)}", path)
        return
    yield Line(name, path)
    yield from lines(held, path, before if isinstance(held, list) else f"{before}{_INDENT}")


def _empty_or_scalar(value: Any) -> str:  # noqa: ANN401 - as above
    return json.dumps(value) if isinstance(value, dict | list) else _scalar(value)


def _scalar(value: Any) -> str:  # noqa: ANN401 - as above
    """Return a scalar; a text without quotes where it can be nothing else."""
    if not isinstance(value, str):
        return json.dumps(value)
    simple = value[:1].isalpha() and value.replace("-", "").replace(".", "").replace("/", "").replace("_", "").isalnum()
    is_plain = simple and value.isascii() and len(value) <= _LONGEST_PLAIN and plain(value) == value
    return value if is_plain else json.dumps(value, ensure_ascii=False)
