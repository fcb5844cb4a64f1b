"""The paragraph on refusals: each reason once, however many proxies have it."""

from __future__ import annotations

from typing import Any

from controlplane.cli.refusals import refusals


def entry(reason: str, *names: str) -> dict[str, Any]:
    keys = [{"kind": "Gateway", "namespace": "infra", "name": name} for name in names]
    return {"lastError": reason, "rejection": {"message": reason, "resources": [{"name": "l", "objects": keys}]}}


def test_nobody_refused() -> None:
    assert refusals([]) == ""


def test_a_reason_is_told_once() -> None:
    """Of many proxies and objects some are named; line breaks go, and what is long ends."""
    rows = [(f"web-{number}.shop", "LDS", entry("a\n  reason", "a", "b", "c", "d")) for number in range(5)]
    rows.append(("web-0.shop", "CDS", entry("x" * 1000)))
    assert refusals(rows).splitlines() == [
        "Refused:",
        f"  CDS by web-0.shop: {'x' * 300} ...",
        "  LDS by web-0.shop, web-1.shop, web-2.shop and 2 more: a reason",
        "    made from Gateway infra/a, Gateway infra/b, Gateway infra/c and 1 more",
    ]


def test_an_istiod_that_says_only_the_reason() -> None:
    assert refusals([("a.b", "EDS", {"lastError": "no"})]) == "Refused:\n  EDS by a.b: no"
