"""A mesh configuration that does not hold: the last good one stays, at first the defaults."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from controlplane.analysis import codes
from controlplane.analysis.findings import Finding
from controlplane.analysis.problems import Problems
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Object, ObjectKey, Rejected, Warned
from controlplane.model.problems import Sort
from controlplane.registry.mesh import MESH_KEY, mesh_config
from controlplane.registry.store import Registry, View
from controlplane.watchers.kinds import parse

REFUSED, ODD = (ObjectKey(kinds.VIRTUAL_SERVICE, "shop", name) for name in ("refused", "odd"))


class Nothing:
    """A source without problems of its own."""

    def __init__(self) -> None:
        self.rejected: dict[str, Rejected] = {}
        self.warnings: tuple[Warned, ...] = ()


def mesh(text: str, key: str = "mesh") -> Object:
    raw = {"apiVersion": "v1", "kind": "ConfigMap", "data": {key: text}}
    found = parse(raw | {"metadata": {"name": "istio", "namespace": "istio-system"}}, "here")
    assert not isinstance(found, Rejected)
    obj: Object = found.object  # type: ignore[union-attr]
    return obj


BAD = [
    "extensionProviders: [{name: [zipkin]}]",
    "extensionProviders: [{}]",
    "extensionProviders: {a: b}",
    "trustDomainAliases: [[a]]",
    "accessLogFile: !!bool maybe",
    "connectTimeout: !!timestamp x",
    "connectTimeout: 2024-99-99",
    "connectTimeout: [1]",
    "defaultConfig: [a]",
    "defaultConfig: {proxyMetadata: 7}",
    "defaultProviders: 7",
    "[" * 100_000,
    "[a]",
    "a",
    "? [a]\n: b",
    "a: &a [" + "x, " * 1000 + "]\nb: [" + "*a, " * 1000 + "]",
    "trustDomain: '\ud800'",
    "#" * 2_000_000,
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:40])
def test_a_bad_one_changes_nothing(text: str) -> None:
    registry = Registry()
    problems = Problems(Nothing(), registry)
    for good, expected in (("", "cluster.local"), ("trustDomain: good", "good")):
        if good:
            registry.memo.invalidate(registry.apply(problems.checked(ChangeSet(upserts=(mesh(good),)))))
        with capture_logs() as logs:
            registry.apply(problems.checked(ChangeSet(upserts=(mesh(text),))))
        assert mesh_config(View(registry)).trust_domain == expected
        (log,) = logs
        assert (log["event"], log["object"]) == ("registry.rejected", str(MESH_KEY))
        (rejected,) = problems
        assert rejected.problems[0].startswith("data.mesh: ")


def test_networks_belong_to_it() -> None:
    problems = Problems(Nothing(), Registry())
    assert not problems.checked(ChangeSet(upserts=(mesh("networks: [a]", "meshNetworks"),))).upserts
    (rejected,) = problems
    assert rejected.problems[0].startswith("data.meshNetworks: ")


class Judging(Nothing):
    """A source that refuses one object and wonders about another."""

    def __init__(self) -> None:
        super().__init__()
        self.rejected = {"a.yaml": Rejected(REFUSED, ("spec.http: none", "spec.hosts: none"), "a.yaml:1")}
        self.warnings = (Warned(ODD, "it is odd"),)


def test_each_problem_is_told_by_itself_with_what_is_known_of_it() -> None:
    problems = Problems(Judging(), Registry())
    problems.checked(ChangeSet(upserts=(mesh("[a]"),)))
    problems.findings = (Finding(ODD, "spec.hosts[0]", "it loses", REFUSED, codes.CONFLICTING_MESH_HOSTS.id),)
    told = {(each.key, each.sort, each.level, each.path, each.code, each.winner) for each in problems.each()}
    assert told == {
        (REFUSED, Sort.REFUSED, "Error", "", "", None),
        (MESH_KEY, Sort.REFUSED, "Error", "", "", None),
        (ODD, Sort.WARNING, "Warning", "", "", None),
        (ODD, Sort.FINDING, "Error", "spec.hosts[0]", "IST0109", REFUSED),
    }
    assert sorted(each.reason for each in problems.each() if each.key == REFUSED) == [
        "spec.hosts: none",
        "spec.http: none",
    ]
    assert sum(1 for _ in problems.each()) == sum(len(each.problems) for each in problems)
