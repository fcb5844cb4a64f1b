"""Messages come whole out of whatever pieces they came in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.http2.headers import Status
from controlplane.http2.messages import MessageRefused, Reassembly

LARGEST = 10_000


def prefixed(message: bytes) -> bytes:
    """Return a message as it is on the wire."""
    return len(message).to_bytes(5) + message


def taken(partial: Reassembly) -> list[bytes]:
    """Take all that is complete."""
    return list(iter(partial.take, None))


@given(
    sizes=st.lists(st.sampled_from((0, 1, 4, 5, 6, 1023, 1024, 1025, LARGEST)), max_size=6),
    cuts=st.lists(st.integers(0, 6 * (LARGEST + 5)), max_size=40),
)
def test_any_pieces_give_the_same_messages(sizes: list[int], cuts: list[int]) -> None:
    messages = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    data = b"".join(map(prefixed, messages))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    partial, found = Reassembly(LARGEST), []
    for start, end in pairwise(places):
        partial.add(data[start:end])
        found += taken(partial)
        whole = sum(len(message) + 5 for message in found)
        assert bool(partial) == (end > whole)
    assert found == messages


@pytest.mark.parametrize(
    ("prefix", "status", "reason"),
    [
        (b"\x01\0\0\0\x01", Status.UNIMPLEMENTED, "compressed messages are not supported"),
        (b"\0\0\0\x27\x11", Status.RESOURCE_EXHAUSTED, "a message of 10001 bytes is over the limit of 10000"),
    ],
)
def test_a_message_is_refused_by_its_prefix(prefix: bytes, status: Status, reason: str) -> None:
    partial = Reassembly(LARGEST)
    partial.add(prefixed(b"good") + prefix[:2])
    assert taken(partial) == [b"good"]
    partial.add(prefix[2:])
    with pytest.raises(MessageRefused, match=reason) as refused:
        partial.take()
    assert refused.value.status is status
