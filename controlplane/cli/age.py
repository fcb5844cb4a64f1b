"""Ages as Kubernetes' tools write them: precise while young, rough when old."""

from __future__ import annotations

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_YEAR = 365 * _DAY

# Up to this many seconds: the unit, and the smaller one that is shown beside it (0: none).
_STEPS = (
    (2 * _MINUTE, (1, "s"), (0, "")),
    (10 * _MINUTE, (_MINUTE, "m"), (1, "s")),
    (3 * _HOUR, (_MINUTE, "m"), (0, "")),
    (8 * _HOUR, (_HOUR, "h"), (_MINUTE, "m")),
    (2 * _DAY, (_HOUR, "h"), (0, "")),
    (8 * _DAY, (_DAY, "d"), (_HOUR, "h")),
    (2 * _YEAR, (_DAY, "d"), (0, "")),
    (8 * _YEAR, (_YEAR, "y"), (_DAY, "d")),
)


def age(seconds: float) -> str:
    """Write a duration, such as ``12s``, ``2m30s``, ``10m``, ``3h20m``; one of the future is ``0s``."""
    whole = max(int(seconds), 0)
    for limit, (size, unit), (small_size, small_unit) in _STEPS:
        if whole < limit:
            text = f"{whole // size}{unit}"
            rest = whole % size // small_size if small_size else 0
            return f"{text}{rest}{small_unit}" if rest else text
    return f"{whole // _YEAR}y"
