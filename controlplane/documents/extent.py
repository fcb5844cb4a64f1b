"""How deep and how large a plain value is; without recursion, whatever it is."""

from __future__ import annotations

from typing import NamedTuple


class Extent(NamedTuple):
    """Levels of containers, and what a value takes as text, about: characters of its texts, and 8 for anything else."""

    depth: int
    size: int


_ENTRY = 8


def extent(value: object, *, deepest: int, largest: int) -> Extent:
    """Measure a value; stop as soon as it is deeper than ``deepest`` or larger than ``largest``.

    A value that stands in several places (aliases) counts in each.
    """
    depth = size = 0
    level = [value]
    while level and depth <= deepest and size <= largest:
        inner: list[object] = []
        for each in level:
            size += _ENTRY
            if type(each) is str:
                size += len(each)
            elif type(each) is dict:
                size += sum(len(str(key)) for key in each)
                inner += each.values()
            elif type(each) is list:
                inner += each
        depth += any(type(each) is dict or type(each) is list for each in level)
        level = inner
    return Extent(depth, size)


def is_deeper(value: object, depth: int, *, brackets: int | None = None) -> bool:
    """Whether a value has more levels of containers; ``brackets`` are how many containers it has, where one knows."""
    if brackets is not None and brackets <= depth:
        return False
    level = [value]
    for _ in range(depth):
        inner: list[object] = []
        for each in level:
            if type(each) is dict:
                inner += each.values()
            elif type(each) is list:
                inner += each
        level = [each for each in inner if type(each) is dict or type(each) is list]
        if not level:
            return False
    return True
