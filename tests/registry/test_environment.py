"""Istiod's environment variables that change what proxies are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.registry import environment
from tests.translate.listeners.world import World, connection_manager, gateway, sidecar

DEPLOY = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.0.0.5, selector: {app: web}, ports: [{name: any, port: 9000, targetPort: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: default, labels: {app: web}}
spec: {containers: []}
status: {podIP: 10.9.0.1}
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: other}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""


@pytest.mark.parametrize(
    ("value", "detected"),
    [("", ["http/1.1", "h2c"]), ("true", ["http/1.0", "http/1.1", "h2c"]), ("no", ["http/1.1", "h2c"])],
)
def test_http10(value: str, detected: list[str]) -> None:
    """HTTP/1.0 is taken by each side, and told from other bytes where the protocol of a port is not declared."""
    found = World(WEB, {environment.HTTP10: value}).listeners(sidecar())
    for name in ("10.0.0.5_9000", "virtualInbound"):
        chains = [
            chain for chain in found[name].filter_chains if "h2c" in chain.filter_chain_match.application_protocols
        ]
        assert chains
        for chain in chains:
            assert list(chain.filter_chain_match.application_protocols) == detected
            assert connection_manager(chain).http_protocol_options.accept_http_10 is (len(detected) == 3)


@pytest.mark.parametrize(
    ("value", "namespace", "served"),
    [("", "default", True), ("true", "default", False), ("true", "other", True)],
)
def test_gateways_by_namespace(value: str, namespace: str, *, served: bool) -> None:
    world = World(GATEWAY, {environment.GATEWAYS_BY_NAMESPACE: value})
    assert bool(world.listeners(gateway(namespace))) is served


@pytest.mark.parametrize(
    ("value", "stated", "percent"),
    [
        pytest.param("", "{}", 1, id="default"),
        pytest.param("25", "{}", 25, id="environment"),
        pytest.param("0", "{}", 0, id="environment-says-nothing"),
        pytest.param("25", "{sampling: 50}", 50, id="mesh"),
        pytest.param("25", "{sampling: 0}", 25, id="zero-is-not-stated"),
        pytest.param("", "{sampling: 0}", 1, id="zero-is-the-default"),
        pytest.param("lots", "{}", 1, id="no-number"),
        pytest.param("101", "{}", 1, id="no-percentage"),
    ],
)
def test_trace_sampling(value: str, stated: str, percent: float) -> None:
    mesh = f"""
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "{{defaultConfig: {{tracing: {stated}}}}}"}}
"""
    found = World(WEB + mesh, {environment.TRACE_SAMPLING: value}).listeners(sidecar())
    (chain,) = found["10.0.0.5_9000"].filter_chains
    assert connection_manager(chain).tracing.random_sampling.value == percent


@pytest.mark.parametrize("name", environment.UNDERSTOOD)
def test_it_is_documented(name: str) -> None:
    assert f"`{name}`" in DEPLOY
