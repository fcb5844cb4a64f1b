"""Bytes as a list of pieces that others hold too: what is large and mostly the same is never there twice.

A ``Strand`` is a shared tuple of pieces, some of them replaced; a ``Rope`` is strands one after the other. Nothing is
joined before somebody asks, and then only a run at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, count
from operator import is_not

_RUN_SIZE = 64 << 10
"""Bytes of a run, about: enough for one call of the system, and less than what an allocator takes from the system."""


@dataclass(frozen=True, slots=True, eq=False)
class Strand:
    """Pieces in order, of which those at the positions in ``swaps`` are replaced. ``len()`` counts bytes.

    ``plain_size`` counts the bytes without that.
    """

    pieces: tuple[bytes, ...] = field(repr=False)
    plain_size: int
    size: int
    swaps: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, pieces: tuple[bytes, ...]) -> Strand:
        """Make a strand of these pieces."""
        size = sum(map(len, pieces))
        return cls(pieces, size, size)

    def swapping(self, swaps: Mapping[int, bytes]) -> Strand:
        """Return a strand with these pieces replaced and no others; the rest is shared.

        It costs as much as there are swaps, however long the strand is.
        """
        grown = sum([len(piece) - len(self.pieces[position]) for position, piece in swaps.items()])
        return self.with_swaps(dict(sorted(swaps.items())), grown)

    def with_swaps(self, swaps: Mapping[int, bytes], grown: int) -> Strand:
        """Do so with swaps that are sorted by position and make it so many bytes longer, at the cost of one."""
        return replace(self, size=self.plain_size + grown, swaps=swaps)

    def __len__(self) -> int:
        return self.size

    def runs(self) -> Iterator[bytes]:
        """Yield all bytes in order, joined a run at a time; nobody holds a run but who asked for it."""
        step = max(1, _RUN_SIZE * len(self.pieces) // max(1, self.plain_size))  # pieces of a run
        start = 0
        for position, piece in self.swaps.items():
            yield from self._between(start, position, step)
            yield piece
            start = position + 1
        yield from self._between(start, len(self.pieces), step)

    def _between(self, start: int, end: int, step: int) -> Iterator[bytes]:
        for first in range(start, end, step):
            yield b"".join(self.pieces[first : min(first + step, end)])


def changed_range(before: Sequence[object], after: Sequence[object]) -> tuple[int, int, int]:
    """Return where two sequences begin to differ, and where that ends in the one and in the other.

    Things are the same that are the same object. None is looked at in Python, however many there are.
    """
    shorter = min(len(before), len(after))
    start = next(compress(count(), map(is_not, before, after)), shorter)
    same = next(compress(count(), map(is_not, reversed(before), reversed(after))), shorter)
    same = min(same, shorter - start)
    return start, len(before) - same, len(after) - same


class Rope:
    """Bytes and strands in order, immutable. ``len()`` counts bytes; ``bytes()`` joins all of them."""

    __slots__ = ("_size", "strands")

    def __init__(self, parts: Iterable[bytes | Strand | Rope]) -> None:
        strands: list[Strand] = []
        pieces: list[bytes] = []
        for part in parts:
            if isinstance(part, bytes):
                pieces.append(part)
                continue
            if pieces:
                strands.append(Strand.of(tuple(pieces)))
                pieces = []
            strands.extend(part.strands if isinstance(part, Rope) else (part,))
        if pieces:
            strands.append(Strand.of(tuple(pieces)))
        self.strands: tuple[Strand, ...] = tuple(strands)
        self._size = sum(map(len, strands))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.runs())

    def runs(self) -> Iterator[bytes]:
        """Yield all bytes in order, joined a run at a time; nobody holds a run but who asked for it."""
        for strand in self.strands:
            yield from strand.runs()


Body = bytes | Rope
"""A message, in one piece or as a rope."""


def tied(parts: Iterable[bytes | Strand | Rope], largest: int) -> Body:
    """Return parts as one: in one piece up to so many bytes, as a rope beyond."""
    rope = Rope(parts)
    return rope if len(rope) > largest else bytes(rope)
