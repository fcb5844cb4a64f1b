"""Results that are remembered by the texts that they were made from, in a bounded number of bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LONGEST = 1024


def kept(entries: int, longest: int = LONGEST) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Remember a function's results, but not for a text longer than ``longest`` characters among its arguments.

    ``lru_cache`` counts entries: where users or peers write the texts, each may be as long as they like. Arguments are
    given by position.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        remembering = lru_cache(maxsize=entries)(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for each in args:
                if type(each) is str and len(each) > longest:
                    return function(*args, **kwargs)
            return remembering(*args, **kwargs)  # type: ignore[arg-type]  # what is a key is hashable

        return call

    return decorate
