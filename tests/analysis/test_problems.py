"""A mesh configuration that does not hold: the last good one stays, at first the defaults."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from controlplane.analysis.problems import Problems
from controlplane.model.objects import ChangeSet, Object, Rejected, Warned
from controlplane.registry.mesh import MESH_KEY, mesh_config
from controlplane.registry.store import Registry, View
from controlplane.watchers.kinds import parse


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
