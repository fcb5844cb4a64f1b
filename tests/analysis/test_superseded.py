"""Of Sidecars and PeerAuthentications that select the same workloads, the oldest is used alone."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.analysis.findings import Finding, findings
from controlplane.apis.kinds import KINDS
from controlplane.model import kinds
from controlplane.model.kinds import istio_kind
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.peer_authentication import workload_mode
from controlplane.registry.policies import WorkloadKey
from controlplane.registry.scopes import sidecar_for
from controlplane.registry.store import Registry, View
from tests.compiler.histories import manifest, parsed

LABELS = {"app": "cart"}
SELECTOR = {"Sidecar": "workloadSelector", "PeerAuthentication": "selector"}
PAIRS = {"Sidecar": "labels", "PeerAuthentication": "matchLabels"}


def obj(kind: str, name: str, minute: int, labels: Any = None, namespace: str = "shop", **spec: Any) -> Any:
    if labels is not None:
        spec[SELECTOR[kind]] = {PAIRS[kind]: labels}
    if kind == "Sidecar":
        spec["outboundTrafficPolicy"] = {"mode": "REGISTRY_ONLY"}
    api = f"{KINDS[kind].group}/v1"
    return manifest(api, kind, namespace, name, creationTimestamp=f"2026-01-01T00:{minute:02}:00Z", spec=spec)


def registry(*raw: Any) -> Registry:
    held = Registry()
    held.apply(ChangeSet(upserts=tuple(parsed(each) for each in raw)))
    return held


def found(held: Registry) -> tuple[Finding, ...]:
    return held.memo.get(findings, ()) or ()


@pytest.mark.parametrize("kind", ["Sidecar", "PeerAuthentication"])
@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        pytest.param({}, {}, True, id="whole-namespace"),
        pytest.param({"labels": LABELS}, {"labels": LABELS}, True, id="same-workloads"),
        pytest.param({"labels": LABELS}, {}, False, id="some-and-all"),
        pytest.param({"labels": LABELS}, {"labels": {"app": "b"}}, False, id="others"),
        pytest.param({}, {"namespace": "bank"}, False, id="other-namespace"),
    ],
)
def test_which_is_used(kind: str, first: dict[str, Any], second: dict[str, Any], *, conflict: bool) -> None:
    held = registry(obj(kind, "new", 2, **second), obj(kind, "old", 1, **first))
    assert [(each.key.name, each.winner) for each in found(held)] == (
        [("new", ObjectKey(istio_kind(kind), "shop", "old"))] if conflict else []
    )


def test_the_one_named_is_the_one_that_is_used() -> None:
    """Here, and where workloads are told what to do."""
    held = registry(
        obj("Sidecar", "a", 2, LABELS),
        obj("Sidecar", "b", 1, LABELS),
        obj("PeerAuthentication", "a", 2, mtls={"mode": "DISABLE"}),
        obj("PeerAuthentication", "b", 1, mtls={"mode": "STRICT"}),
    )
    assert [str(each.winner) for each in found(held)] == ["PeerAuthentication shop/b", "Sidecar shop/b"]
    assert sidecar_for(View(held), "shop", LABELS) == ObjectKey(kinds.SIDECAR, "shop", "b")
    assert held.memo.get(workload_mode, WorkloadKey("shop", frozenset())).mode == "STRICT"


def test_it_goes_with_the_older_one() -> None:
    held = registry(obj("Sidecar", "a", 2), obj("Sidecar", "b", 1))
    held.memo.keep(findings, ())
    (finding,) = found(held)
    assert (finding.path, finding.reason) == (
        "spec.workloadSelector",
        "Sidecar shop/b is older and selects the same workloads; it alone is used",
    )
    held.memo.invalidate(held.apply(ChangeSet(deletes=(ObjectKey(kinds.SIDECAR, "shop", "b"),))))
    assert found(held) == ()
