"""Pages of long lists: ``?limit=N`` and then, as long as there is more, the page that the ``Link`` header names.

Source of the header: RFC 8288, relation ``next``. A page begins behind the last element of the one before, wherever
that would stand now, so what comes and goes in between moves nothing else.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from controlplane.documents.json_reader import json_value

T = TypeVar("T")
Order = tuple[str, ...]
_DIGITS = 9


class BadPageError(ValueError):
    """``limit`` or ``after`` is not what it can be; the message says it to the caller."""


class Page(NamedTuple):
    """Which part of a sorted list is asked for: at most ``limit`` elements, all with ``None``, behind ``after``."""

    limit: int | None = None
    after: Order = ()

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Page:
        """Read it from a request's query.

        Raises:
            BadPageError: it is malformed.
        """
        return cls(_limit(query.get("limit", "")), _after(query.get("after", "")))

    def cut(self, items: Sequence[T], order: Callable[[T], Order]) -> tuple[Sequence[T], Order]:
        """Return the page's items of a list in this order, and the ``after`` of the next page if there is one."""
        begin = bisect_right(items, self.after, key=order) if self.after else 0
        end = len(items) if self.limit is None else min(begin + self.limit, len(items))
        return items[begin:end], order(items[end - 1]) if end < len(items) else ()


def link(path: str, query: Mapping[str, str], after: Order) -> str:
    """Return the value of the ``Link`` header that leads to the next page."""
    return f'<{path}?{urlencode({**query, "after": json.dumps(after, separators=(",", ":"))})}>; rel="next"'


def _limit(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) > 0):
        raise BadPageError(f"?limit= is how many at most, at least 1, and not {text!r}")
    return int(text)


def _after(text: str) -> Order:
    if not text:
        return ()
    try:
        after = json_value(text)
    except ValueError:
        after = None
    if not isinstance(after, list) or not all(isinstance(part, str) for part in after):
        raise BadPageError("?after= is taken from the Link header of the page before, and is something else here")
    return tuple(after)
