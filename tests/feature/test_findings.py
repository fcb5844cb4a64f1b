"""Subsets that no DestinationRule names: which destinations are found, and what makes a finding come and go."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.analysis.findings import findings
from controlplane.frontends import FRONTENDS
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.model.parse import Parsed
from controlplane.registry.store import Registry
from controlplane.watchers.kinds import parse
from tests.feature.objects import NETWORKING, Json, manifest, service, to, virtual_service

SUBSETS = [{"name": "v1"}]
KEY = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "cart")


def parsed(raw: Json) -> Object:
    result = parse(raw, "test")
    assert isinstance(result, Parsed), result
    return result.object


def rule(namespace: str = "shop", host: str = "cart", **spec: Any) -> Json:
    spec = {"host": host, "subsets": SUBSETS, **spec}
    return manifest(NETWORKING, "DestinationRule", "cart", namespace, spec=spec)


def found(registry: Registry) -> list[str]:
    return [finding.path for finding in registry.memo.get(findings, ()) or ()]


def registry_of(*objects: Json) -> Registry:
    registry = Registry(frontends=FRONTENDS)
    registry.apply(ChangeSet(upserts=tuple(parsed(raw) for raw in (*service("cart", 1), *objects))))
    return registry


TLS = [{"match": [{"sniHosts": ["cart.shop.svc.cluster.local"], "port": 443}], "route": [to("t")]}]


@pytest.mark.parametrize(
    ("obj", "paths"),
    [
        (virtual_service({"route": [to("v1")]}), []),
        (virtual_service({"route": [{"destination": {"host": "cart"}}]}), []),
        (
            virtual_service({"route": [to("v1", weight=1), to("v2", weight=1)]}),
            ["spec.http[0].route[1].destination.subset"],
        ),
        (
            virtual_service({"route": [to("v1")], "mirror": to("m")["destination"]}),
            ["spec.http[0].mirror.subset"],
        ),
        (
            virtual_service({"route": [to("v1")], "mirrors": [to("v1"), to("m")]}),
            ["spec.http[0].mirrors[1].destination.subset"],
        ),
        (
            manifest(
                NETWORKING,
                "VirtualService",
                "cart",
                spec={"hosts": ["cart.shop.svc.cluster.local"], "tls": TLS, "tcp": [{"route": [to("t")]}]},
            ),
            ["spec.tls[0].route[0].destination.subset", "spec.tcp[0].route[0].destination.subset"],
        ),
    ],
    ids=["named", "no-subset", "weighted", "mirror", "mirrors", "tls-and-tcp"],
)
def test_destinations(obj: Json, paths: list[str]) -> None:
    assert found(registry_of(rule(), obj)) == paths


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        pytest.param([], False, id="no-rule"),
        pytest.param([rule(host="*.shop.svc.cluster.local")], True, id="wildcard"),
        pytest.param([rule(workloadSelector={"matchLabels": {"app": "x"}})], True, id="for-some-workloads"),
        pytest.param([rule("other", "cart.shop.svc.cluster.local")], False, id="of-an-unrelated-namespace"),
        pytest.param([rule("istio-system", "cart.shop.svc.cluster.local")], True, id="of-the-root-namespace"),
        pytest.param([rule("istio-system", "cart.shop.svc.cluster.local", exportTo=["."])], False, id="not-exported"),
    ],
)
def test_rules_that_count(rules: list[Json], *, named: bool) -> None:
    registry = registry_of(*rules, virtual_service({"route": [to("v1")]}))
    assert (found(registry) == []) is named


def test_host_of_a_service_entry_in_another_namespace() -> None:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    entry = manifest(
        NETWORKING, "ServiceEntry", "api", "other", spec={"hosts": ["api.test"], "ports": ports, "resolution": "DNS"}
    )
    route = {"route": [{"destination": {"host": "api.test", "subset": "v1"}}]}
    named = registry_of(entry, rule("other", "api.test"), virtual_service(route))
    assert found(named) == []
    alone = found(registry_of(rule("other", "api.test"), virtual_service(route)))
    assert sorted(alone) == [f"spec.http[0].route[0].destination.{field}" for field in ("host", "subset")], "neither is"


@pytest.mark.parametrize(("target", "paths"), [("cart.shop.svc.cluster.local", 0), ("old.shop.svc.cluster.local", 1)])
def test_host_of_an_external_name(target: str, paths: int) -> None:
    """The subset is one of the service that is led to; names that lead in a circle end nowhere."""
    alias = manifest("v1", "Service", "old", spec={"type": "ExternalName", "externalName": target})
    route = {"route": [{"destination": {"host": "old", "subset": "v1"}}]}
    assert len(found(registry_of(rule(), alias, virtual_service(route)))) == paths


def test_a_finding_comes_and_goes_with_the_rule() -> None:
    registry = registry_of(rule(), virtual_service({"route": [to("v1")]}))
    registry.memo.keep(findings, ())
    assert found(registry) == []
    facts = registry.apply(ChangeSet(deletes=(ObjectKey(kinds.DESTINATION_RULE, "shop", "cart"),)))
    registry.memo.invalidate(facts)
    assert [(finding.key, finding.path) for finding in registry.memo.get(findings, ()) or ()] == [
        (KEY, "spec.http[0].route[0].destination.subset")
    ]
    registry.memo.invalidate(registry.apply(ChangeSet(upserts=(parsed(rule()),))))
    assert found(registry) == []


def test_an_unrelated_change_looks_at_nothing_again() -> None:
    registry = registry_of(rule(), virtual_service({"route": [to("v1")]}))
    registry.memo.keep(findings, ())
    registry.memo.get(findings, ())
    before = dict(registry.memo.runs)
    registry.memo.invalidate(registry.apply(ChangeSet(upserts=tuple(map(parsed, service("ratings", 3))))))
    assert found(registry) == []
    assert registry.memo.runs == before
