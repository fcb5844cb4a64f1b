"""Long lists in portions, so that a change of one thing is work for its portion and not for the list.

What is looked up or made of each thing of a long list is made portion by portion, in queries of their own: all portions
but those of what changed come out equal, and what was made of them stands. Which portion a thing is in depends on its
name alone, so it stays there whatever else comes and goes. Short lists are one portion.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")

PORTIONS = 64
MANY = 512
"""Things from which on a list is divided."""


def portions(things: Collection[T], name: Callable[[T], str]) -> tuple[tuple[T, ...], ...]:
    """Divide things by their names, each portion in the order of all; things of one name come into the same portion."""
    if len(things) < MANY:
        return (tuple(things),)
    found: list[list[T]] = [[] for _ in range(PORTIONS)]
    for thing in things:
        found[portion_of(name(thing), PORTIONS)].append(thing)
    return tuple(map(tuple, found))


def portion_of(name: str, count: int) -> int:
    """Return in which of so many portions a thing of this name is."""
    return crc32(name.encode(errors="surrogatepass")) % count
