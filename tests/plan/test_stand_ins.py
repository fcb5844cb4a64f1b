"""A policy that cannot be read closes as it comes into force, and a plan says so; a good version stays."""

from __future__ import annotations

from typing import Any

from controlplane.apis.authorization_policy import Rule
from controlplane.model.kinds import AUTHORIZATION_POLICY
from controlplane.model.objects import ChangeSet
from controlplane.plan.laid_over import laid_over
from controlplane.plan.question import Question, meant
from controlplane.registry.store import Registry
from controlplane.simulate.manifests import Manifest, Manifests
from tests.compiler.histories import manifest


def policy(port: str) -> Any:
    rules = [{"to": [{"operation": {"ports": [port]}}]}]
    return manifest("security.istio.io/v1", "AuthorizationPolicy", "shop", "a", spec={"action": "DENY", "rules": rules})


GOOD, BAD = (Manifest(policy(port), f"{port}.yaml:1") for port in ("80", "80-90"))
WORSE = Manifest(policy("80-90"), "worse.yaml:1")
WORSE.value["spec"]["action"] = "Deny"
OTHER = Manifest(manifest("v1", "Namespace", "", "shop"), "other.yaml:1")


def rules(changes: ChangeSet) -> list[tuple[Rule, ...]]:
    return [obj.spec.rules for obj in changes.upserts]


def test_files_alone() -> None:
    """A good version in another file comes first, wherever it stands."""
    for given, closed in (([BAD], True), ([GOOD, BAD], False), ([BAD, GOOD], False)):
        assert (rules(Manifests.of(given).change_set()) == [(Rule(),)]) == closed
        assert len(Manifests.of(given).objects) == 1


def test_over_files() -> None:
    assert rules(laid_over([], [BAD]).meant.changes) == [(Rule(),)]
    good = Manifests.of([GOOD]).objects[0].spec.rules
    assert rules(laid_over([GOOD], [BAD]).meant.changes) == [good]
    assert rules(laid_over([], [GOOD, BAD]).meant.changes) == [good]
    assert rules(laid_over([BAD], [WORSE]).meant.changes) == [()]
    assert rules(laid_over([BAD], [GOOD, WORSE]).meant.changes) == [good]
    kept = laid_over([BAD, GOOD], [OTHER]).meant.changes.upserts
    assert [each.spec.rules for each in kept if each.kind == AUTHORIZATION_POLICY] == [good]


def test_over_what_runs() -> None:
    running, question = Registry(), Question.of({"objects": [{"value": BAD.value, "source": BAD.source}]})
    assert rules(meant(question, running).changes) == [(Rule(),)]
    change = Manifests.of([WORSE]).change_set()
    running.apply(change)
    assert rules(meant(question, running, change.rejections).changes) == [(Rule(),)]
    running.apply(Manifests.of([GOOD]).change_set())
    assert rules(meant(question, running).changes) == []
    assert rules(meant(question, running, change.rejections).changes) == []
