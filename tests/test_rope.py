"""Ropes: the same bytes as if they were joined, and no second copy of any."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.rope import Rope, Strand, changed_range, tied

sizes = st.lists(st.sampled_from((0, 1, 7, 1000, 70_000)), max_size=12)


def pieces_of(sizes: list[int], first: int = 0) -> tuple[bytes, ...]:
    return tuple(bytes([(first + index) % 256]) * size for index, size in enumerate(sizes))


@given(sizes=sizes, swapped=st.dictionaries(st.integers(0, 11), st.sampled_from((0, 3, 90_000))))
def test_a_strand_with_pieces_replaced_is_the_list_with_pieces_replaced(
    sizes: list[int], swapped: dict[int, int]
) -> None:
    pieces = list(pieces_of(sizes))
    swaps = {position: bytes([100 + position]) * size for position, size in swapped.items() if position < len(pieces)}
    plain = Strand.of(tuple(pieces))
    assert b"".join(plain.runs()) == b"".join(pieces)
    strand = plain.swapping(swaps)
    for position, piece in swaps.items():
        pieces[position] = piece
    assert b"".join(strand.runs()) == b"".join(pieces)
    assert len(strand) == sum(map(len, pieces))
    assert b"".join(strand.swapping({}).runs()) == b"".join(plain.runs()), "swaps do not add up"


@given(groups=st.lists(st.tuples(st.sampled_from(("bytes", "strand", "rope")), sizes), max_size=5))
def test_a_rope_is_what_it_is_made_of_in_order(groups: list[tuple[str, list[int]]]) -> None:
    parts: list[bytes | Strand | Rope] = []
    for number, (kind, held) in enumerate(groups):
        pieces = pieces_of(held, number * 16)
        strand = Strand.of(pieces)
        parts += pieces if kind == "bytes" else (strand,) if kind == "strand" else (Rope([b"x", strand]),)
    expected = b"".join(part if isinstance(part, bytes) else b"".join(part.runs()) for part in parts)
    rope = Rope(parts)
    assert bytes(rope) == expected
    assert len(rope) == len(expected)
    assert tied(parts, len(expected)) == expected


def test_a_rope_holds_what_it_was_made_of_and_gives_it_in_small_runs() -> None:
    pieces = tuple(bytes([number % 256]) * 1000 for number in range(1000))
    rope = Rope([b"head", Strand.of(pieces).swapping({500: b"other"})])
    assert isinstance(tied([rope], 1000), Rope)
    assert rope.strands[1].pieces is pieces
    runs = [len(run) for run in rope.runs()]
    assert max(runs) < 100_000
    assert len(runs) < 30


@given(before=st.lists(st.integers(0, 3), max_size=8), after=st.lists(st.integers(0, 3), max_size=8))
def test_outside_of_the_changed_range_both_are_the_same(before: list[int], after: list[int]) -> None:
    """And at its ends they are not, so that it is no larger than it has to be; small integers are the same objects."""
    start, old_end, new_end = changed_range(before, after)
    assert start <= min(old_end, new_end)
    assert before[:start] + after[start:new_end] + before[old_end:] == after
    if start < min(old_end, new_end):
        assert before[start] != after[start]
        assert before[old_end - 1] != after[new_end - 1]
    assert (before == after) == (start == old_end == new_end)
