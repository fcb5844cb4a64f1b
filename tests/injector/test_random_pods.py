"""Random pods, bad ones and good ones, go through injection: a refusal at most, and what comes out stays a pod."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from controlplane.injector.errors import InjectionError
from controlplane.injector.injected import injected
from controlplane.injector.patch import patch
from controlplane.injector.settings import Settings
from tests.injector.patched import patched

pytestmark = pytest.mark.slow

NONSENSE: tuple[Any, ...] = (
    None,
    0,
    -1,
    2**70,
    1.5,
    True,
    "",
    "x",
    "\u0000",
    "é" * 300,
    [],
    {},
    [None],
    [[]],
    {"a": None},
    [{}],
)
ANNOTATIONS = (
    "sidecar.istio.io/interceptionMode",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/nativeSidecar",
    "sidecar.istio.io/status",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/bootstrapOverride",
    "status.sidecar.istio.io/port",
    "proxy.istio.io/config",
    "proxy.istio.io/overrides",
    "prometheus.io/port",
    "prometheus.io/scrape",
    "prometheus.istio.io/scrape-targets",
    "inject.istio.io/templates",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "k8s.v1.cni.cncf.io/networks",
    "apm.datadoghq.com/env",
)
WORDS = ("true", "false", "0", "15020", "9090", "", "gateway", "{}", "[]", '{"a":{}}', "a: [", "TPROXY")


def probe(rng: random.Random) -> dict[str, Any]:
    port: Any = rng.choice([80, "http", "none", 15020])
    handler = rng.choice([{"httpGet": {"port": port, "path": "/x", "scheme": "HTTPS"}}, {"tcpSocket": {"port": port}}])
    return rng.choice([handler, {"grpc": {"port": 80}}, {"exec": {"command": ["x"]}}]) | {"timeoutSeconds": 2}


def container(rng: random.Random, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "image": rng.choice(["a:1", "auto"])}
    if rng.random() < 0.5:
        made["ports"] = [{"containerPort": 80, "name": "http"}]
    for field in ("readinessProbe", "livenessProbe"):
        if rng.random() < 0.4:
            made[field] = probe(rng)
    if rng.random() < 0.3:
        made["lifecycle"] = {"preStop": {"httpGet": {"port": "http"}}}
    if rng.random() < 0.3:
        made["securityContext"] = {"runAsUser": 7}
    return made


def pod(rng: random.Random) -> dict[str, Any]:
    names = rng.sample(["app", "side", "istio-proxy"], rng.randint(1, 3))
    spec: dict[str, Any] = {"containers": [container(rng, name) for name in names]}
    if rng.random() < 0.4:
        unlike = ["setup", "istio-init"] if "istio-proxy" in names else ["setup", "istio-init", "istio-proxy"]
        spec["initContainers"] = [container(rng, rng.choice(unlike))]
    if rng.random() < 0.3:
        spec["volumes"] = [{"name": "data", "emptyDir": {}}]
    annotations = {rng.choice(ANNOTATIONS): rng.choice(WORDS) for _ in range(rng.randint(0, 2))}
    metadata = {"generateName": "web-", "labels": {"app": "web"}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def broken(rng: random.Random, value: Any) -> Any:
    """A copy in which something anywhere is something else."""
    value = copy.deepcopy(value)
    holder: Any = value
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return value
        key = rng.choice(keys)
        if rng.random() < 0.3 or not isinstance(holder[key], (dict, list)):
            holder[key] = rng.choice(NONSENSE)
            return value
        holder = holder[key]


@pytest.mark.parametrize("seed", range(20))
def test_good_pods_are_injected_once_only(seed: int) -> None:
    rng = random.Random(seed)
    injections = 0
    for _ in range(30):
        settings = Settings(namespace="shop", native=rng.random() < 0.5)
        given = pod(rng)
        try:
            once = injected(given, settings)
        except InjectionError:
            continue
        injections += 1
        assert patched(given, patch(given, settings)) == once
        assert injected(once, settings) == once, given
        every = [*once["spec"].get("initContainers", []), *once["spec"]["containers"]]
        names = [each["name"] for each in every]
        assert len(names) == len(set(names)), given
    assert injections


@pytest.mark.parametrize("seed", range(20))
def test_bad_pods_are_refused_and_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    refused = 0
    for _ in range(60):
        given = broken(rng, pod(rng))
        try:
            patch(given, Settings(namespace="shop"))
        except InjectionError:
            refused += 1
    assert refused
