"""How much one peer can put into the log."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import structlog

from controlplane.logs.limits import (
    ALL_BURST,
    BURST,
    LIBRARY_BURST,
    MOST_KEYS,
    PER_SECOND,
    PeerLimit,
    address,
)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def passed(limit: PeerLimit, **event: object) -> dict[str, object] | None:
    try:
        return dict(limit(None, "warning", {"event": "ads.nack", **event}))
    except structlog.DropEvent:
        return None


def test_a_burst_and_then_one_a_second_which_says_how_many_more() -> None:
    clock = Clock()
    limit = PeerLimit(clock)
    first = [passed(limit, peer=f"10.0.0.1:{port}") for port in range(1000)]
    assert [each is not None for each in first] == [True] * BURST + [False] * (1000 - BURST)
    clock.now = 1 / PER_SECOND
    later = passed(limit, peer="10.0.0.1:7")
    assert later is not None
    assert later["more"] == 1000 - BURST
    clock.now = 1000.0
    quiet = passed(limit, peer="10.0.0.1:7")
    assert quiet is not None
    assert "more" not in quiet


def test_nobody_else_is_silenced() -> None:
    limit = PeerLimit(Clock())
    for _ in range(10 * ALL_BURST):
        passed(limit, peer="10.0.0.1:1")
    assert passed(limit, peer="10.0.0.2:1") is not None
    assert passed(limit, event="ads.other", peer="10.0.0.1:1") is not None


def test_many_peers_together_are_limited_too() -> None:
    clock = Clock()
    limit = PeerLimit(clock)
    found = [passed(limit, connection=f"app-{number}.shop-{number}") for number in range(2 * ALL_BURST)]
    assert sum(each is not None for each in found) == ALL_BURST
    clock.now = 1.0
    later = passed(limit, connection="another.shop-1")
    assert later is not None
    assert later["more"] == ALL_BURST


def test_what_is_about_objects_is_never_dropped() -> None:
    limit = PeerLimit(Clock())
    assert all(passed(limit, event="registry.rejected", object=f"o{each}") for each in range(10 * ALL_BURST))


def test_a_library_is_limited_as_a_whole() -> None:
    limit = PeerLimit(Clock())
    found = [passed(limit, event=f"odd peer {number}", logger="aiohttp.server") for number in range(1000)]
    assert sum(each is not None for each in found) == LIBRARY_BURST


def test_it_remembers_no_more_than_so_many() -> None:
    limit = PeerLimit(Clock())
    for number in range(2 * MOST_KEYS):
        passed(limit, event=f"e{number}", peer="p" * 10_000)
    assert len(limit._buckets) <= MOST_KEYS  # noqa: SLF001 - ours
    assert max(len(part) for key in limit._buckets for part in key) <= 200  # noqa: SLF001


@pytest.mark.parametrize(
    ("peer", "same"),
    [
        ("10.0.0.1:4711", "10.0.0.1"),
        ("[::1]:4711", "[::1]"),
        ("app-7d4f.shop-12", "app-7d4f.shop"),
        ("app.shop", "app.shop"),
    ],
)
def test_who_comes_again_is_the_same(peer: str, same: str) -> None:
    assert address(peer) == same
