"""Names in the text of a refusal."""

from __future__ import annotations

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
    assert rejected_names(message, known, subscribed) == expected
