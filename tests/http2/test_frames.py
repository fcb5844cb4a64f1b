"""Bytes to frames, however they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.http2.frames import LARGEST_FRAME, PREFACE, Frame, Kind, Splitter, head

sizes = st.one_of(st.integers(0, 40), st.sampled_from((LARGEST_FRAME - 1, LARGEST_FRAME)))
cuts = st.one_of(st.integers(1, 40), st.integers(LARGEST_FRAME - 5, 4 * LARGEST_FRAME))


@given(frames=st.lists(sizes, max_size=12), pieces=st.lists(cuts, max_size=30))
def test_frames_do_not_depend_on_the_pieces_they_come_in(frames: list[int], pieces: list[int]) -> None:
    sent = [(Kind.DATA, 0, number, bytes((number,)) * size) for number, size in enumerate(frames)]
    said = PREFACE + b"".join(head(len(data), Kind.DATA, 0, number) + data for _, _, number, data in sent)
    splitter, got, start = Splitter(), list[Frame](), 0
    for size in (*pieces, len(said)):
        splitter.feed(said[start : start + size])
        got += iter(splitter.take, None)
        start += size
    assert got == sent
