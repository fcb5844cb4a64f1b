"""WasmPlugins and TrafficExtensions: which proxies get what, and what stands for a module that nobody would fetch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from controlplane.analysis.left_out import LeftOutParts
from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from tests.compiler.histories import manifest, parsed

STOCK = Proxy("sidecar", "web.shop", ("10.1.0.1",), "shop", "shop.svc.cluster.local", {"app": "web"})
ISTIO = Proxy(
    "sidecar", "old.shop", ("10.1.0.2",), "shop", "shop.svc.cluster.local", {"app": "web"}, istio_version="1.30.0"
)
OTHER = Proxy("sidecar", "db.shop", ("10.1.0.3",), "shop", "shop.svc.cluster.local", {"app": "db"})
SERVICE = parsed(
    manifest("v1", "Service", "shop", "web", spec={"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80}]})
)
NAME = "extensions.istio.io/trafficextension/shop.m~istio-translated-wasmplugin"


def extension(kind: str, name: str, namespace: str = "shop", **spec: Any) -> Object:
    return parsed(manifest("extensions.istio.io/v1alpha1", kind, namespace, name, spec=spec))


def snapshots(proxies: tuple[Proxy, ...], *objects: Object) -> tuple[list[Snapshot], list[str]]:
    """Return the proxies' snapshots, and what is said to be left out."""

    async def served() -> tuple[list[Snapshot], list[str]]:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        left_out = LeftOutParts(compiler.registry)
        await compiler.apply(ChangeSet(upserts=(SERVICE, *objects)))
        sessions = [await compiler.open(proxy, lambda: None) for proxy in proxies]
        problems = [problem for each in left_out for problem in each.problems]
        return [session.snapshot for session in sessions], problems

    return asyncio.run(served())


def http_filters(snapshot: Snapshot, listener: str = "0.0.0.0_80") -> list[str]:
    message = Listener.FromString(snapshot.of(ResourceType.LISTENER)[listener].body)
    chain = message.default_filter_chain if message.HasField("default_filter_chain") else message.filter_chains[0]
    for each in [*message.filter_chains, chain]:
        for held in each.filters:
            if held.name == "envoy.filters.network.http_connection_manager":
                return [one.name for one in HttpConnectionManager.FromString(held.typed_config.value).http_filters]
    raise AssertionError(listener)


@pytest.mark.parametrize(("strategy", "rules"), [("FAIL_OPEN", False), ("FAIL_CLOSE", True), ("FAIL_RELOAD", True)])
def test_a_stock_envoy_has_nobody_who_fetches_a_module(strategy: str, rules: bool) -> None:  # noqa: FBT001
    """Its fail strategy holds instead, as with an agent that cannot fetch it; and that is said."""
    plugin = extension("WasmPlugin", "m", url="oci://registry.example/m:1", failStrategy=strategy)
    (stock, istio), problems = snapshots((STOCK, ISTIO), plugin)
    config = TypedExtensionConfig.FromString(stock.of(ResourceType.EXTENSION)[NAME].body)
    stand_in = rbac_pb2.RBAC()
    assert config.typed_config.Unpack(stand_in)
    assert stand_in.HasField("rules") is rules
    assert Wasm.DESCRIPTOR.full_name in istio.of(ResourceType.EXTENSION)[NAME].body.decode(errors="replace")
    (problem,) = problems
    assert problem.startswith("module oci://registry.example/m:1 is left out, it cannot be loaded")


def test_a_file_is_run_by_any_envoy() -> None:
    plugin = extension("WasmPlugin", "m", url="file:///opt/m.wasm", pluginConfig={"a": 1.0, "b": [2.5, "x"]})
    (stock,), problems = snapshots((STOCK,), plugin)
    wasm = Wasm()
    assert TypedExtensionConfig.FromString(stock.of(ResourceType.EXTENSION)[NAME].body).typed_config.Unpack(wasm)
    assert wasm.config.vm_config.code.local.filename == "/opt/m.wasm"
    assert b'{"a":1,"b":[2.5,"x"]}' in wasm.config.configuration.value
    assert problems == []


def test_extensions_stand_in_the_order_of_phase_priority_namespace_and_age() -> None:
    lua: dict[str, Any] = {"lua": {"inlineCode": "function envoy_on_request(h) end"}}
    held = [
        extension("TrafficExtension", "late", **lua),
        extension("TrafficExtension", "stats", phase="STATS", **lua),
        extension("TrafficExtension", "root", "istio-system", phase="AUTHN", priority=5, **lua),
        extension("TrafficExtension", "own", phase="AUTHN", priority=5, **lua),
        extension("TrafficExtension", "first", "istio-system", phase="AUTHN", priority=7, **lua),
        extension("TrafficExtension", "servers", match=[{"mode": "SERVER"}], **lua),
        extension("TrafficExtension", "other-port", match=[{"ports": [{"number": 81}]}], **lua),
        extension("TrafficExtension", "others", selector={"matchLabels": {"app": "db"}}, **lua),
    ]
    (snapshot, other), _ = snapshots((STOCK, OTHER), *held)
    found = [name.rpartition("/")[2] for name in http_filters(snapshot) if "trafficextension" in name]
    assert found == ["istio-system.first", "shop.own", "istio-system.root", "shop.stats", "shop.late"]
    assert any("shop.others" in name for name in http_filters(other))


def test_a_script_that_is_no_lua_costs_nothing_but_itself() -> None:
    bad = extension("TrafficExtension", "bad", lua={"inlineCode": "function envoy_on_request(h) en"})
    good = extension("TrafficExtension", "good", lua={"inlineCode": "function envoy_on_request(h) end"})
    (snapshot,), problems = snapshots((STOCK,), bad, good)
    found = [name.rpartition("/")[2] for name in http_filters(snapshot) if "trafficextension" in name]
    assert found == ["shop.good"]
    (problem,) = problems
    assert problem.startswith("spec.lua.inlineCode is left out, Envoy would refuse it: is no Lua")
