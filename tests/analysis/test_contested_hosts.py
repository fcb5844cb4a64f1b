"""Two VirtualServices for one host: which one sidecars use, and which hosts the other has in vain."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.analysis.contested_hosts import ContestedHost, contested_hosts
from controlplane.analysis.findings import Finding, findings
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.store import Registry
from tests.compiler.histories import manifest, parsed

HOST = "cart.shop.svc.cluster.local"
FIRST, SECOND = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "first"), ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "second")
LOST = [ContestedHost(SECOND, 0, HOST, FIRST)]
TO = {"route": [{"destination": {"host": "cart"}}]}


def virtual_service(name: str, minute: int, *rules: dict[str, Any], namespace: str = "shop", **spec: Any) -> Any:
    created = f"2026-01-01T00:{minute:02}:00Z"
    spec = {"hosts": ["cart"], "http": list(rules or (TO,)), **spec}
    return manifest("networking.istio.io/v1", "VirtualService", namespace, name, creationTimestamp=created, spec=spec)


def registry(*raw: Any) -> Registry:
    held = Registry()
    held.apply(ChangeSet(upserts=tuple(parsed(obj) for obj in raw)))
    return held


def contested(*raw: Any) -> list[ContestedHost]:
    found: tuple[ContestedHost, ...] = registry(*raw).memo.get(contested_hosts, ())
    return list(found)


@pytest.mark.parametrize(
    ("first", "second", "lost"),
    [
        pytest.param({}, {}, LOST, id="the-older-wins"),
        pytest.param({}, {"hosts": ["other"]}, [], id="another-host"),
        pytest.param({"hosts": ["*.shop.svc.cluster.local"]}, {}, [], id="less-exact"),
        pytest.param({}, {"hosts": ["x.test", HOST]}, [ContestedHost(SECOND, 1, HOST, FIRST)], id="one-of-two"),
        pytest.param({"gateways": ["edge"]}, {}, [], id="at-a-gateway"),
        pytest.param({"gateways": ["edge"]}, {"gateways": ["edge"]}, [], id="gateways-use-both"),
        pytest.param({"exportTo": ["."]}, {}, [], id="seen-here-only"),
        pytest.param({}, {"exportTo": ["."]}, [], id="the-namespace-prefers-its-own"),
        pytest.param({"exportTo": ["."]}, {"exportTo": ["."]}, LOST, id="both-seen-here-only"),
        pytest.param({"exportTo": [".", "a"]}, {"exportTo": [".", "a", "b"]}, [], id="elsewhere-it-is-first"),
        pytest.param({"exportTo": [".", "a", "b"]}, {"exportTo": [".", "a"]}, LOST, id="before-it-everywhere"),
        pytest.param({"http": [{**TO, "match": [{"uri": {"prefix": "/a"}}]}]}, {}, LOST, id="some-paths"),
        pytest.param({"http": [{**TO, "match": [{"port": 80}]}]}, {}, [], id="one-port"),
        pytest.param({"http": [{**TO, "match": [{"sourceLabels": {"a": "b"}}]}]}, {}, [], id="some-clients"),
        pytest.param({"http": [{**TO, "match": [{"sourceNamespace": "a"}]}]}, {}, [], id="of-one-namespace"),
        pytest.param(
            {"gateways": ["mesh", "edge"], "http": [{**TO, "match": [{"gateways": ["edge"]}]}]},
            {},
            [],
            id="not-in-mesh",
        ),
        pytest.param({"http": [], "tcp": [TO]}, {}, [], id="no-http-routes"),
        pytest.param({}, {"http": [], "tcp": [TO]}, [], id="no-http-routes-to-lose"),
    ],
)
def test_who_has_a_host(first: dict[str, Any], second: dict[str, Any], lost: list[ContestedHost]) -> None:
    assert contested(virtual_service("second", 2, **second), virtual_service("first", 1, **first)) == lost


def lost(held: Registry) -> list[Finding]:
    """Return the findings about hosts that others have; that there is no service to lead to is another."""
    return [each for each in held.memo.get(findings, ()) or () if each.winner is not None]


def test_the_winner_is_the_first_of_all_and_leaves_the_host_when_it_goes() -> None:
    held = registry(*(virtual_service(name, minute) for minute, name in enumerate(("first", "second", "third"))))
    held.memo.keep(findings, ())
    assert [(each.key.name, each.winner) for each in lost(held)] == [("second", FIRST), ("third", FIRST)]
    held.memo.invalidate(held.apply(ChangeSet(deletes=(FIRST,))))
    (left,) = lost(held)
    assert (left.key.name, left.path, left.winner) == ("third", "spec.hosts[0]", SECOND)
    assert left.reason.startswith(f"{SECOND} has {HOST} too")
