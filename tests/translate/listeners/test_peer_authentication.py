"""Which policy decides what a workload's port accepts."""

from __future__ import annotations

import pytest

from controlplane.registry.peer_authentication import (
    MtlsMode,
    WorkloadMtls,
    namespace_mode,
    workload_mode,
)
from controlplane.registry.policies import WorkloadKey
from tests.translate.listeners.world import World

WEB = WorkloadKey("ns1", frozenset({("app", "web")}))


def policy(name: str, namespace: str, mode: str, *, selector: str = "", ports: str = "", created: str = "") -> str:
    stamp = f", creationTimestamp: '{created}'" if created else ""
    spec = f"mtls: {{mode: {mode}}}" if mode else ""
    spec += f", selector: {{matchLabels: {{{selector}}}}}" if selector else ""
    spec += f", portLevelMtls: {{{ports}}}" if ports else ""
    return f"""
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}{stamp}}}
spec: {{{spec.removeprefix(", ")}}}
"""


MESH_STRICT = policy("default", "istio-system", "STRICT")
NAMESPACE_DISABLE = policy("default", "ns1", "DISABLE")


@pytest.mark.parametrize(
    ("yaml", "namespace", "workload"),
    [
        pytest.param("", "PERMISSIVE", "PERMISSIVE", id="nothing"),
        pytest.param(MESH_STRICT, "STRICT", "STRICT", id="mesh"),
        pytest.param(MESH_STRICT + NAMESPACE_DISABLE, "DISABLE", "DISABLE", id="namespace-over-mesh"),
        pytest.param(MESH_STRICT + policy("default", "ns1", "UNSET"), "STRICT", "STRICT", id="unset-inherits"),
        pytest.param(MESH_STRICT + policy("default", "ns2", "DISABLE"), "STRICT", "STRICT", id="other-namespace"),
        pytest.param(
            NAMESPACE_DISABLE + policy("web", "ns1", "STRICT", selector="app: web"), "DISABLE", "STRICT", id="workload"
        ),
        pytest.param(
            NAMESPACE_DISABLE + policy("db", "ns1", "STRICT", selector="app: db"),
            "DISABLE",
            "DISABLE",
            id="not-selected",
        ),
        pytest.param(
            policy("web", "istio-system", "STRICT", selector="app: web"),
            "PERMISSIVE",
            "PERMISSIVE",
            id="root-selects-not",
        ),
        pytest.param(
            policy("a", "ns1", "STRICT", created="2021-01-01T00:00:00Z")
            + policy("b", "ns1", "DISABLE", created="2020-01-01T00:00:00Z"),
            "DISABLE",
            "DISABLE",
            id="oldest",
        ),
    ],
)
def test_mode(yaml: str, namespace: str, workload: str) -> None:
    memo = World(yaml).registry.memo
    assert memo.get(namespace_mode, "ns1") == namespace
    assert memo.get(workload_mode, WEB) == WorkloadMtls(MtlsMode(workload))


def test_ports() -> None:
    """A port's own mode counts for that port of the workload; unset takes the workload's."""
    ports = "8080: {mode: DISABLE}, 80: {mode: UNSET}"
    found = World(policy("web", "ns1", "STRICT", selector="app: web", ports=ports)).registry.memo.get(
        workload_mode, WEB
    )
    assert found.ports == ((80, MtlsMode.STRICT), (8080, MtlsMode.DISABLE))
    assert [found.of(port) for port in (80, 8080, 9000)] == ["STRICT", "DISABLE", "STRICT"]
