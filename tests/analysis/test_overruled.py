"""Which fields of DestinationRules are not used because another one of the same host has them already."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.analysis.findings import findings
from controlplane.analysis.overruled import overruled
from controlplane.apis.destination_rule import DestinationRule
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Meta, Object, ObjectKey
from controlplane.registry.store import Registry

POLICY: dict[str, Any] = {"trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}


def subsets(*names: str) -> dict[str, Any]:
    return {"subsets": [{"name": name, "labels": {"version": name}} for name in names]}


def rule(name: str, *parts: dict[str, Any], namespace: str = "shop", host: str = "cart", **more: Any) -> Object:
    """Return a DestinationRule; those whose names come later in the alphabet are younger."""
    spec = {"host": host, **more}
    for part in parts:
        spec |= part
    created = f"2026-01-01T00:00:{ord(name[0]) - ord('a'):02}Z"
    meta = Meta(namespace, name, created=created)
    return Object(kinds.DESTINATION_RULE, meta, DestinationRule.model_validate(spec))


def registry(*objects: Object) -> Registry:
    made = Registry()
    made.apply(ChangeSet(objects))
    return made


def found(held: Registry) -> list[tuple[str, str, str]]:
    return [(each.key.name, each.path, each.winner.name) for each in held.memo.get(overruled, ())]


@pytest.mark.parametrize(
    ("objects", "lost"),
    [
        pytest.param([rule("a", POLICY), rule("b", POLICY)], [("b", "spec.trafficPolicy", "a")], id="policy"),
        pytest.param([rule("a"), rule("b", POLICY)], [], id="the-only-policy"),
        pytest.param(
            [rule("a"), rule("b", POLICY), rule("c", POLICY)], [("c", "spec.trafficPolicy", "b")], id="first-policy"
        ),
        pytest.param(
            [rule("a", subsets("v1")), rule("b", subsets("v2", "v1"))], [("b", "spec.subsets[1]", "a")], id="subset"
        ),
        pytest.param([rule("a", subsets("v1")), rule("b", subsets("v2"))], [], id="other-subsets"),
        pytest.param([rule("a", POLICY), rule("b", POLICY, host="basket")], [], id="other-host"),
        pytest.param(
            [rule("a", POLICY), rule("b", POLICY, host="cart.shop.svc.cluster.local")],
            [("b", "spec.trafficPolicy", "a")],
            id="same-host-in-full",
        ),
        pytest.param([rule("a", POLICY), rule("b", POLICY, namespace="bank")], [], id="other-namespace"),
        pytest.param(
            [rule("a", POLICY, exportTo=["."]), rule("b", POLICY)],
            [],
            id="exported-further",  # they are not merged: the stated visibilities differ
        ),
    ],
)
def test_what_is_stated_in_vain(objects: list[Object], lost: list[tuple[str, str, str]]) -> None:
    assert found(registry(*objects)) == lost


def test_it_is_used_once_the_other_goes() -> None:
    held = registry(rule("a", POLICY), rule("b", POLICY))
    first = ObjectKey(kinds.DESTINATION_RULE, "shop", "a")
    (finding,) = held.memo.get(findings, ()) or ()
    assert (finding.key.name, finding.path, finding.winner) == ("b", "spec.trafficPolicy", first)
    assert "DestinationRule shop/a is for the same host" in finding.reason
    held.memo.invalidate(held.apply(ChangeSet(deletes=(first,))))
    assert not held.memo.get(findings, ())
