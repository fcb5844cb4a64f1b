"""What listeners take of the mesh's configuration: a change of one field rebuilds those alone that it shows in."""

from __future__ import annotations

import pytest

from controlplane.model.proxy import Proxy
from tests.translate.listeners.test_gateway import HTTP80, gateway_resource
from tests.translate.listeners.test_outbound import service
from tests.translate.listeners.world import World, gateway, mesh_yaml, sidecar

WORLD = service("web", "{name: http, port: 80}") + service("db", "{name: tcp, port: 5432}", ip="10.0.0.6")
GATE = "---" + gateway_resource(HTTP80).removeprefix("---")
HTTP, TCP, CAPTURED = "0.0.0.0_80", "10.0.0.6_5432", "virtualOutbound"
INBOUND, GATEWAY = "virtualInbound", "gateway"
EVERY = {HTTP, TCP, CAPTURED, INBOUND, GATEWAY}
ZIPKIN = "extensionProviders: [{name: z, zipkin: {service: web.ns1.svc.cluster.local, port: 80}}]"


def resources(world: World) -> dict[str, object]:
    """Return all listeners by name, that of the gateway under a name of its own."""
    proxies: tuple[Proxy, ...] = (sidecar("ns1"), gateway("ns1"))
    inward, router = (world.resources(proxy) for proxy in proxies)
    return {**inward, GATEWAY: router[HTTP]}


def runs(world: World) -> int:
    built = world.registry.memo.runs
    return sum(built.get(name, 0) for name in ("_outbound_listener", "inbound_listeners", "_gateway_listener"))


@pytest.mark.parametrize(
    ("mesh", "rebuilt"),
    [
        pytest.param("connectTimeout: 3s", set(), id="clusters-alone"),
        pytest.param("localityLbSetting: {enabled: false}", set(), id="endpoints-alone"),
        pytest.param("defaultHttpRetryPolicy: {attempts: 7}", set(), id="routes-alone"),
        pytest.param("defaultConfig: {proxyHeaders: {attemptCount: {disabled: true}}}", set(), id="routes-headers"),
        pytest.param("defaultConfig: {drainDuration: 3s}", set(), id="for-agents"),
        pytest.param("accessLogFormat: x", set(), id="format-without-log"),
        pytest.param(ZIPKIN, set(), id="provider-that-nobody-uses"),
        pytest.param("tlsDefaults: {minProtocolVersion: TLSV1_3}", {GATEWAY}, id="tls-of-gateways"),
        pytest.param("defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}", {GATEWAY}, id="topology"),
        pytest.param("meshMTLS: {minProtocolVersion: TLSV1_3}", {INBOUND}, id="tls-of-peers"),
        pytest.param("trustDomainAliases: [other]", {INBOUND}, id="trust-domains"),
        pytest.param("defaultInboundHttpRetryPolicy: {attempts: 7}", {INBOUND}, id="inbound-retries"),
        pytest.param("defaultConfig: {proxyHeaders: {forwardedClientCert: SANITIZE}}", {INBOUND}, id="certificate"),
        pytest.param("enableTracing: false", {HTTP, INBOUND, GATEWAY}, id="tracing"),
        pytest.param("pathNormalization: {normalization: NONE}", {HTTP, INBOUND, GATEWAY}, id="paths"),
        pytest.param("protocolDetectionTimeout: 2s", {HTTP, INBOUND}, id="detection"),
        pytest.param("accessLogFile: /dev/stdout", EVERY, id="logs"),
        pytest.param("defaultProviders: {metrics: [prometheus]}", EVERY, id="metrics"),
    ],
)
def test_a_field_rebuilds_what_it_shows_in(mesh: str, rebuilt: set[str]) -> None:
    world = World(WORLD + GATE)
    world.apply(mesh_yaml(""))
    before, count = resources(world), runs(world)
    world.apply(mesh_yaml(mesh))
    after = resources(world)
    assert runs(world) - count == len(rebuilt)
    assert {name for name, held in after.items() if held is not before[name]} <= rebuilt


def test_a_providers_name_is_found_whatever_its_case() -> None:
    world = World(WORLD)
    world.apply(mesh_yaml("defaultProviders: {accessLogging: [EnVoy]}"))
    assert world.listeners(sidecar("ns1"))[CAPTURED].access_log
