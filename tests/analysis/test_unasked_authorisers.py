"""Policies whose authoriser nobody can ask are told of: what they match is denied."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controlplane.analysis.findings import findings
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.environment import SEVERAL_AUTHORISERS
from controlplane.registry.store import Registry
from tests.compiler.histories import manifest, parsed

HTTP, GRPC = "envoyExtAuthzHttp", "envoyExtAuthzGrpc"
GUARD = {"service": "guard.shop.svc.cluster.local", "port": 80}
PROVIDERS = [
    {"name": "http", HTTP: GUARD},
    {"name": "grpc", GRPC: GUARD},
    {"name": "gone", HTTP: {**GUARD, "service": "gone.shop.svc.cluster.local"}},
    {"name": "file", "envoyFileAccessLog": {"path": "/dev/null"}},
]
WEB: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}}


def policy(name: str, provider: str, namespace: str = "shop", **spec: Any) -> Any:
    spec = {"rules": [{}], "action": "CUSTOM", **spec}
    if spec["action"] == "CUSTOM":
        spec["provider"] = {"name": provider}
    return manifest("security.istio.io/v1", "AuthorizationPolicy", namespace, name, spec=spec)


def registry(*objects: Any, **environment: str) -> Registry:
    service = manifest("v1", "Service", "shop", "guard", spec={"ports": [{"name": "http", "port": 80}]})
    mesh = yaml.safe_dump({"extensionProviders": PROVIDERS})
    config = manifest("v1", "ConfigMap", "istio-system", "istio", data={"mesh": mesh})
    held = Registry(environment=environment)
    held.apply(ChangeSet(upserts=tuple(map(parsed, [service, config, *objects]))))
    return held


def told(held: Registry) -> dict[str, str]:
    return {
        each.key.name: each.reason for each in held.memo.get(findings, ()) or () if each.path == "spec.provider.name"
    }


@pytest.mark.parametrize(
    ("provider", "reason"),
    [
        ("http", ""),
        ("grpc", ""),
        ("other", "has no extension provider 'other'"),
        ("file", "'file' is neither envoyExtAuthzHttp nor envoyExtAuthzGrpc"),
        ("gone", "the service of the extension provider 'gone' is unknown"),
    ],
)
def test_one_policy(provider: str, reason: str) -> None:
    found = told(registry(policy("asks", provider)))
    assert list(found) == (["asks"] if reason else [])
    assert reason in found.get("asks", "")
    assert not reason or found["asks"].endswith("; what the policy matches is denied")
    assert not told(registry(policy("allows", provider, action="ALLOW")))


@pytest.mark.parametrize(
    ("more", "told_of"),
    [
        pytest.param(policy("b", "grpc", **WEB), {"a", "b"}, id="same-labels"),
        pytest.param(policy("b", "grpc"), {"a"}, id="whole-namespace"),
        pytest.param(policy("b", "grpc", "istio-system"), {"a"}, id="whole-mesh"),
        pytest.param(policy("b", "grpc", "other"), set(), id="another-namespace"),
        pytest.param(policy("b", "http", **WEB), set(), id="same-provider"),
        pytest.param(policy("b", "grpc", selector={"matchLabels": {"app": "db"}}), set(), id="other-labels"),
    ],
)
def test_two_policies(more: Any, told_of: set[str]) -> None:
    """One workload has one authoriser, unless several are allowed."""
    both = (policy("a", "http", **WEB), more)
    found = told(registry(*both))
    assert found.keys() == told_of
    assert all("asks another provider about the same workloads" in reason for reason in found.values())
    assert not told(registry(*both, **{SEVERAL_AUTHORISERS: "true"}))


def test_it_is_told_no_more_once_it_is_mended() -> None:
    held = registry(policy("a", "grpc"), policy("b", "http"))
    assert told(held).keys() == {"a", "b"}
    gone = parsed(policy("b", "http")).key
    assert isinstance(gone, ObjectKey)
    held.memo.invalidate(held.apply(ChangeSet(deletes=(gone,))))
    assert not told(held)
