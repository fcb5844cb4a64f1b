"""What filters, access logs and tracing of a listener ask is among what the listener refers to, and so sent before."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from tests.compiler.histories import manifest, parsed
from tests.compiler.virtual import run

CUSTOM = {"action": "CUSTOM", "provider": {"name": "it"}, "rules": [{}]}
LOGGED = {"accessLogging": [{"providers": [{"name": "it"}]}]}
TRACED = {"tracing": [{"providers": [{"name": "it"}]}]}
ASKED = "outbound|9000||it.shop.svc.cluster.local"
PROXIES = {
    kind: Proxy(kind, "web-1.shop", ("10.1.0.1",), "shop", "shop.svc.cluster.local", {"app": "web"})
    for kind in ("sidecar", "router")
}
GATEWAY = {
    "selector": {"app": "web"},
    "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
}


def service(name: str, ip: str, port: int) -> Any:
    ports = [{"name": "http", "port": port}]
    return manifest("v1", "Service", "shop", name, spec={"clusterIP": ip, "selector": {"app": name}, "ports": ports})


@pytest.mark.parametrize(
    ("provider", "kind", "spec", "listeners"),
    [
        ("envoyExtAuthzHttp", "AuthorizationPolicy", CUSTOM, {"virtualInbound", "0.0.0.0_80 of a gateway"}),
        ("envoyExtAuthzGrpc", "AuthorizationPolicy", CUSTOM, {"virtualInbound", "0.0.0.0_80 of a gateway"}),
        ("envoyOtelAls", "Telemetry", LOGGED, {"virtualInbound", "virtualOutbound", "0.0.0.0_80 of a gateway"}),
        ("envoyHttpAls", "Telemetry", LOGGED, {"virtualInbound", "virtualOutbound", "0.0.0.0_80 of a gateway"}),
        ("zipkin", "Telemetry", TRACED, {"virtualInbound", "0.0.0.0_80", "0.0.0.0_80 of a gateway"}),
        ("opentelemetry", "Telemetry", TRACED, {"virtualInbound", "0.0.0.0_80", "0.0.0.0_80 of a gateway"}),
    ],
)
def test_the_cluster_of_a_provider(provider: str, kind: str, spec: dict[str, Any], listeners: set[str]) -> None:
    mesh = f"extensionProviders: [{{name: it, {provider}: {{service: it.shop.svc.cluster.local, port: 9000}}}}]"
    config = manifest("v1", "ConfigMap", "istio-system", "istio", data={"mesh": mesh})
    group = "telemetry.istio.io/v1" if kind == "Telemetry" else "security.istio.io/v1"
    objects = [
        config,
        service("it", "10.0.0.9", 9000),
        service("web", "10.0.0.1", 80),
        manifest("networking.istio.io/v1", "Gateway", "shop", "gw", spec=GATEWAY),
        manifest(group, kind, "shop", "it", spec=spec),
    ]

    async def scene() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(map(parsed, objects))))
        found = set()
        for of, proxy in PROXIES.items():
            session = await compiler.open(proxy, lambda: None)
            for name, listener in session.snapshot.of(ResourceType.LISTENER).items():
                if ASKED.encode() in listener.body:
                    assert ASKED in listener.named(ResourceType.CLUSTER), f"{name} names it and says nothing"
                    found.add(name if of == "sidecar" else f"{name} of a gateway")
        assert found >= listeners

    run(scene())
