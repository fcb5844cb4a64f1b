"""Durations as they are written on the command line and in variables."""

from __future__ import annotations

import re  # noqa: TID251 - what the operator writes, once
from datetime import timedelta

_UNITS = {
    "ns": timedelta(microseconds=0.001),
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``100ms``, ``1s`` or ``2m30s``; ``0`` needs no unit.

    Raises:
        ValueError: the text is no such duration, or a negative one.
    """
    if text == "0":
        return timedelta()
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a duration; write for example 100ms, 1s or 2m30s")
    try:
        return sum((float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)), timedelta())
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any duration can be") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration so that ``parse_duration`` reads the same one, to the microsecond."""
    rest = duration // timedelta(microseconds=1)
    parts: list[str] = []
    for unit in ("h", "m", "s", "ms", "us"):
        amount, rest = divmod(rest, _UNITS[unit] // timedelta(microseconds=1))
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0"
