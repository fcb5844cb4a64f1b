"""Names in the text of a refusal."""

from __future__ import annotations

import time
from collections.abc import Collection

import pytest

from controlplane.admin.rejection import rejected_names

REVIEWS = "outbound|9080||reviews.shop.svc.cluster.local"
RATINGS = "outbound|9080||ratings.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("message", "known", "subscribed", "expected"),
    [
        pytest.param(
            "Error adding/updating listener(s) 0.0.0.0_80: a reason\n0.0.0.0_443: b: c\n",
            ["0.0.0.0_80", "0.0.0.0_443", "0.0.0.0_90"],
            None,
            ("0.0.0.0_80", "0.0.0.0_443"),
            id="listeners",
        ),
        pytest.param(
            f"Error adding/updating cluster(s) {REVIEWS}: no such type, {RATINGS}: bad port, twice",
            [RATINGS, REVIEWS],
            None,
            (REVIEWS, RATINGS),
            id="clusters-in-the-order-of-the-message",
        ),
        pytest.param(
            f"Error adding/updating cluster(s) {RATINGS}: cluster manager: cluster '{RATINGS}' did not provide one. "
            f"Check cluster documentation., {REVIEWS}: cluster manager: cluster '{REVIEWS}' did not provide one.",
            [RATINGS, REVIEWS],
            None,
            (RATINGS, REVIEWS),
            id="clusters-as-envoy-1.40-says-it",
        ),
        pytest.param(
            f"Error adding/updating cluster(s) {REVIEWS}: names {RATINGS}",
            [RATINGS, REVIEWS],
            None,
            (REVIEWS,),
            id="a-name-inside-a-reason-is-not-refused",
        ),
        pytest.param(
            "Error adding/updating listener(s) gone: a reason\n", ["other"], None, ("gone",), id="no-longer-held"
        ),
        pytest.param(
            "Only unique values for domains are permitted. Duplicate entry of domain a in route 8080",
            ["80", "8080"],
            ["80", "8080"],
            ("8080",),
            id="route",
        ),
        pytest.param("route: unknown cluster 'x'", ["80"], ["80"], ("80",), id="the-only-one-subscribed"),
        pytest.param("timeout after 80 ms", ["80", "81"], ["80", "81"], (), id="a-number-is-not-a-name"),
        pytest.param(
            "Invalid TLS context for kubernetes://edge",
            ["kubernetes://edge"],
            None,
            ("kubernetes://edge",),
            id="quoted",
        ),
        pytest.param("something else", ["a", "b"], None, (), id="nothing-told"),
    ],
)
def test_rejected_names(
    message: str, known: Collection[str], subscribed: Collection[str] | None, expected: tuple[str, ...]
) -> None:
    assert rejected_names(message, dict.fromkeys(known), subscribed) == expected


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("Error adding/updating listener(s) " + ", " * 2_000_000, id="separators"),
        pytest.param("Error adding/updating listener(s) " + "\n" * 2_000_000 + "a: b", id="lines"),
        pytest.param("Error adding/updating cluster(s) " + ": , " * 1_000_000, id="colons"),
        pytest.param("/[" * 2_000_000, id="boundaries"),
        pytest.param("a.b.c " * 600_000, id="words"),
        pytest.param("RDS" * 1_000_000, id="routes"),
        pytest.param("route config: " * 300_000, id="route-configurations"),
    ],
)
def test_a_long_message_takes_no_longer(message: str) -> None:
    """A peer may write what it likes; thousands of names are looked for in what is read of it."""
    known = {f"outbound|80||svc-{number}.shop.svc.cluster.local": None for number in range(20_000)}

    def seconds() -> float:
        began = time.thread_time()
        rejected_names(message, known, None)
        return time.thread_time() - began

    assert min(seconds() for _ in range(3)) < 0.02


def test_a_name_is_found_among_words_that_touch_it() -> None:
    known = dict.fromkeys(["[::]_80", "kubernetes://edge", REVIEWS])
    message = f"cluster:{REVIEWS}: bad; ([::]_80), see 'kubernetes://edge'."
    assert rejected_names(message, known, None) == (REVIEWS, "[::]_80", "kubernetes://edge")
    assert rejected_names(f"x{REVIEWS} and {REVIEWS}-2", known, None) == ()
