"""MeshConfig.defaultConfig and what single proxies put in its place: each field that is served, and its source."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToDict

from controlplane.apis.mesh import InvalidMeshConfigError, MeshConfig
from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from tests.compiler.histories import manifest, parsed
from tests.envoy.validate import validate

CLUSTER, LISTENER, ROUTE = ResourceType.CLUSTER, ResourceType.LISTENER, ResourceType.ROUTE
MESSAGES = {CLUSTER: Cluster, LISTENER: Listener, ROUTE: RouteConfiguration}
WEB = (
    manifest(
        "v1",
        "Service",
        "shop",
        "web",
        spec={"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
    ),
    manifest(
        "networking.istio.io/v1",
        "VirtualService",
        "shop",
        "web",
        spec={"hosts": ["web"], "http": [{"rewrite": {"uri": "/x"}, "route": [{"destination": {"host": "web"}}]}]},
    ),
    manifest(
        "networking.istio.io/v1",
        "Gateway",
        "shop",
        "gw",
        spec={
            "selector": {"app": "web"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    ),
    manifest(
        "networking.istio.io/v1",
        "VirtualService",
        "shop",
        "out",
        spec={
            "hosts": ["*"],
            "gateways": ["gw"],
            "http": [{"rewrite": {"uri": "/x"}, "route": [{"destination": {"host": "web"}}]}],
        },
    ),
)


def proxy(kind: str = "sidecar", *, istio: bool = False, **metadata: Any) -> Proxy:
    return Proxy(
        kind,
        "web-1.shop",
        ("10.1.0.1",),
        "shop",
        "shop.svc.cluster.local",
        {"app": "web"},
        istio_version="1.32.0" if istio else "",
        metadata=metadata,
    )


def mesh(**fields: Any) -> Object:
    data = {"mesh": yaml.safe_dump(fields)}
    return parsed({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
                   "data": data})  # fmt: skip


def pod(config: str) -> dict[str, Any]:
    return manifest(
        "v1",
        "Pod",
        "shop",
        "web-1",
        labels={"app": "web"},
        annotations={"proxy.istio.io/config": config},
        spec={},
        status={"podIP": "10.1.0.1"},
    )


def snapshot_of(client: Proxy, *more: Object, config: dict[str, Any] | None = None) -> Snapshot:
    async def build() -> Snapshot:
        compiler = Compiler(Registry())
        objects = [*map(parsed, WEB), *more, mesh(defaultConfig=config or {})]
        await compiler.apply(ChangeSet(upserts=tuple(objects)))
        return (await compiler.open(client, lambda: None)).snapshot

    return asyncio.run(build())


def shown(snapshot: Snapshot, type_: ResourceType, name: str) -> str:
    """Return a resource as one line of JSON, in which a test looks for what it is about."""
    message = MESSAGES[type_].FromString(snapshot.of(type_)[name].body)
    return json.dumps(MessageToDict(message), sort_keys=True)


OUT, IN, GATEWAY, ROUTES = "0.0.0.0_80", "virtualInbound", "0.0.0.0_80", "80"
GATEWAY_ROUTES = "http.80"
HEADERS, CONNECTIONS = "proxyHeaders", "connectionSettings"
FIELDS = [
    pytest.param(
        {HEADERS: {"forwardedClientCert": "ALWAYS_FORWARD_ONLY"}}, LISTENER, IN, "ALWAYS_FORWARD_ONLY", id="xfcc"
    ),
    pytest.param(
        {HEADERS: {"setCurrentClientCertDetails": {"chain": True}}}, LISTENER, IN, '"chain": true', id="cert-details"
    ),
    pytest.param({HEADERS: {"requestId": {"disabled": True}}}, LISTENER, OUT, '"generateRequestId": false', id="id"),
    pytest.param({HEADERS: {"server": {"value": "mine"}}}, LISTENER, OUT, '"serverName": "mine"', id="server"),
    pytest.param({HEADERS: {"server": {"disabled": True}}}, LISTENER, OUT, "PASS_THROUGH", id="no-server"),
    pytest.param(
        {HEADERS: {"envoyDebugHeaders": {"disabled": True}}}, LISTENER, OUT, '"suppressEnvoyHeaders": true', id="debug"
    ),
    pytest.param(
        {HEADERS: {"xForwardedPort": {"enabled": True}}}, LISTENER, OUT, '"appendXForwardedPort": true', id="port"
    ),
    pytest.param({HEADERS: {"preserveHttp1HeaderCase": True}}, LISTENER, OUT, "preserve_case", id="case-downstream"),
    pytest.param({HEADERS: {"preserveHttp1HeaderCase": True}}, LISTENER, IN, "preserve_case", id="case-inbound"),
    pytest.param(
        {HEADERS: {"preserveHttp1HeaderCase": True}},
        CLUSTER,
        "outbound|80||web.shop.svc.cluster.local",
        "preserve_case",
        id="case-upstream",
    ),
    pytest.param(
        {HEADERS: {"preserveHttp1HeaderCase": True}}, CLUSTER, "inbound|80||", "preserve_case", id="case-application"
    ),
    *(
        pytest.param({HEADERS: {"preserveHttp1HeaderCase": True}}, CLUSTER, name, "preserve_case", id=f"case-{name}")
        for name in ("PassthroughCluster", "InboundPassthroughCluster")
    ),
    pytest.param(
        {HEADERS: {"xForwardedHost": {"enabled": True}}}, ROUTE, ROUTES, '"appendXForwardedHost": true', id="host"
    ),
    *(
        pytest.param({CONNECTIONS: {field: value}}, LISTENER, name, text, id=f"{field}-{name}")
        for field, value, text in (
            ("httpIdleTimeout", "11s", '"commonHttpProtocolOptions": {"idleTimeout": "11s"}'),
            ("httpMaxConnectionDuration", "12s", '"maxConnectionDuration": "12s"'),
            ("httpMaxStreamDuration", "13s", '"maxStreamDuration": "13s"'),
            ("httpStreamIdleTimeout", "14s", '"streamIdleTimeout": "14s"'),
            ("httpRequestTimeout", "15s", '"requestTimeout": "15s"'),
            ("httpRequestHeadersTimeout", "16s", '"requestHeadersTimeout": "16s"'),
            ("httpDrainTimeout", "17s", '"drainTimeout": "17s"'),
            ("httpMaxConcurrentStreams", 18, '"http2ProtocolOptions": {"maxConcurrentStreams": 18}'),
            ("http2InitialStreamWindowSize", 65536, '"initialStreamWindowSize": 65536'),
            ("http2InitialConnectionWindowSize", 65537, '"initialConnectionWindowSize": 65537'),
            ("httpHeadersWithUnderscoresAction", "HEADERS_WITH_UNDERSCORES_DROP_HEADER", '"DROP_HEADER"'),
            ("httpMergeSlashes", True, '"mergeSlashes": true'),
            ("httpPathWithEscapedSlashesAction", "REJECT_REQUEST", '"REJECT_REQUEST"'),
        )
        for name in (OUT, IN)
    ),
    pytest.param({"tracing": {"sampling": 37.5}}, LISTENER, OUT, '"randomSampling": {"value": 37.5}', id="sampling"),
    pytest.param({"tracing": {"maxPathTagLength": 99}}, LISTENER, IN, '"maxPathTagLength": 99', id="path-length"),
    pytest.param(
        {"tracing": {"customTags": {"a": {"literal": {"value": "b"}}}}},
        LISTENER,
        OUT,
        '"customTags": [{"literal": {"value": "b"}, "tag": "a"}',
        id="tag-literal",
    ),
    pytest.param(
        {"tracing": {"customTags": {"a": {"header": {"name": "h", "defaultValue": "d"}}}}},
        LISTENER,
        OUT,
        '"requestHeader": {"defaultValue": "d", "name": "h"}',
        id="tag-header",
    ),
    pytest.param(
        {"tracing": {"customTags": {"a": {"environment": {"name": "E"}}}}},
        LISTENER,
        OUT,
        '"environment": {"name": "E"}',
        id="tag-environment",
    ),
]


@pytest.mark.parametrize(("config", "type_", "name", "text"), FIELDS)
def test_a_field_of_the_mesh(config: dict[str, Any], type_: ResourceType, name: str, text: str) -> None:
    plain, changed = snapshot_of(proxy()), snapshot_of(proxy(), config=config)
    assert text not in shown(plain, type_, name)
    assert text in shown(changed, type_, name)


@pytest.mark.parametrize(("config", "type_", "name", "text"), FIELDS)
def test_a_field_of_the_proxys_own(config: dict[str, Any], type_: ResourceType, name: str, text: str) -> None:
    assert text in shown(snapshot_of(proxy(PROXY_CONFIG=config)), type_, name)


def test_attempt_count_and_forwarded_host_of_a_sidecar_and_a_gateway() -> None:
    config = {HEADERS: {"attemptCount": {"disabled": True}, "xForwardedHost": {"enabled": True}}}
    for kind, name in (("sidecar", ROUTES), ("router", GATEWAY_ROUTES)):
        plain = shown(snapshot_of(proxy(kind)), ROUTE, name)
        own = shown(snapshot_of(proxy(kind, PROXY_CONFIG=config)), ROUTE, name)
        assert "includeRequestAttemptCount" in plain
        assert "includeRequestAttemptCount" not in own
        assert "appendXForwardedHost" in own
        assert "appendXForwardedHost" not in plain


@pytest.mark.parametrize(
    ("topology", "text"),
    [
        pytest.param({"numTrustedProxies": 2}, '"xffNumTrustedHops": 2', id="hops"),
        pytest.param({"forwardClientCertDetails": "FORWARD_ONLY"}, "FORWARD_ONLY", id="xfcc"),
        pytest.param({"proxyProtocol": {}}, "envoy.filters.listener.proxy_protocol", id="proxy-protocol"),
    ],
)
def test_what_stands_in_front_of_a_gateway(topology: dict[str, Any], text: str) -> None:
    own = proxy("router", PROXY_CONFIG={"gatewayTopology": topology})
    assert text not in shown(snapshot_of(proxy("router")), LISTENER, GATEWAY)
    assert text in shown(snapshot_of(proxy("router"), config={"gatewayTopology": topology}), LISTENER, GATEWAY)
    assert text in shown(snapshot_of(own), LISTENER, GATEWAY)


RECOMMENDED = (
    '"idleTimeout": "3600s"',
    '"streamIdleTimeout": "300s"',
    '"requestTimeout": "300s"',
    '"requestHeadersTimeout": "60s"',
    '"maxConcurrentStreams": 100',
    '"initialStreamWindowSize": 65536',
    '"initialConnectionWindowSize": 1048576',
    '"headersWithUnderscoresAction": "REJECT_REQUEST"',
    '"mergeSlashes": true',
    '"UNESCAPE_AND_REDIRECT"',
)


def test_the_profile_of_the_edge_is_for_gateways_that_say_nothing_else() -> None:
    edge = {CONNECTIONS: {"profile": "EDGE"}}
    whole = shown(snapshot_of(proxy("router"), config=edge), LISTENER, GATEWAY)
    assert '"perConnectionBufferLimitBytes": 32768' in whole
    assert [text for text in RECOMMENDED if text not in whole] == []
    sidecar = shown(snapshot_of(proxy(), config=edge), LISTENER, OUT)
    assert sidecar == shown(snapshot_of(proxy()), LISTENER, OUT)
    assert shown(snapshot_of(proxy("router"), config={CONNECTIONS: {"profile": "SIDECAR"}}), LISTENER, GATEWAY) == (
        shown(snapshot_of(proxy("router")), LISTENER, GATEWAY)
    )
    stated = {
        "httpMaxConcurrentStreams": 7,
        "httpPathWithEscapedSlashesAction": "KEEP_UNCHANGED",
        "listenerPerConnectionBufferLimitBytes": 9000,
    }
    own = shown(snapshot_of(proxy("router"), config={CONNECTIONS: {"profile": "EDGE", **stated}}), LISTENER, GATEWAY)
    assert '"maxConcurrentStreams": 7' in own
    assert '"perConnectionBufferLimitBytes": 9000' in own
    assert "UNESCAPE_AND_REDIRECT" not in own
    assert RECOMMENDED[0] in own


def test_connection_settings_stay_with_a_proxy_that_states_the_rest_of_its_config() -> None:
    mesh_wide = {CONNECTIONS: {"httpDrainTimeout": "17s"}}
    kept = snapshot_of(proxy(PROXY_CONFIG={"tracing": {"sampling": 7}}), config=mesh_wide)
    assert '"drainTimeout": "17s"' in shown(kept, LISTENER, OUT)


@pytest.mark.parametrize("field", ["httpMaxConcurrentStreams", "http2InitialStreamWindowSize"])
def test_what_no_connection_can_have_is_refused(field: str) -> None:
    with pytest.raises(InvalidMeshConfigError, match=f"defaultConfig.connectionSettings.{field}"):
        MeshConfig.parse(f"defaultConfig: {{connectionSettings: {{{field}: 0}}}}")


def test_metadata_exchange_within_the_mesh_only() -> None:
    config = {HEADERS: {"metadataExchangeHeaders": {"mode": "IN_MESH"}}}
    assert "skip_external_clusters" in shown(snapshot_of(proxy(istio=True), config=config), LISTENER, OUT)
    assert "skip_external_clusters" not in shown(snapshot_of(proxy(istio=True)), LISTENER, OUT)


def test_the_metadata_replaces_the_meshs_settings_and_an_annotation_overrides_them_by_field() -> None:
    config = {HEADERS: {"server": {"value": "mesh"}}, "tracing": {"sampling": 5}}
    whole = shown(snapshot_of(proxy(PROXY_CONFIG={"tracing": {"sampling": 7}}), config=config), LISTENER, OUT)
    assert '"value": 7.0' in whole
    assert '"serverName": "mesh"' not in whole
    for client, more in (
        (proxy(), [parsed(pod("tracing: {sampling: 7}"))]),
        (proxy(ANNOTATIONS={"proxy.istio.io/config": "tracing: {sampling: 7}"}), []),
    ):
        merged = shown(snapshot_of(client, *more, config=config), LISTENER, OUT)
        assert '"value": 7.0' in merged
        assert '"serverName": "mesh"' in merged


@pytest.mark.parametrize("text", ["tracing: 5", "]", "- a", "tracing: {sampling: x}"])
def test_a_config_that_cannot_be_read_leaves_the_meshs(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    text += "  # said by no other test: each text is complained of once"
    broken = snapshot_of(proxy(), parsed(pod(text)))
    assert shown(broken, LISTENER, OUT) == shown(snapshot_of(proxy()), LISTENER, OUT)
    assert "proxy_config_rejected" in capsys.readouterr().out


def test_a_proxy_that_says_what_the_mesh_says_is_in_the_same_class() -> None:
    async def check() -> None:
        compiler = Compiler(Registry())
        config = {HEADERS: {"server": {"value": "x"}}}
        await compiler.apply(ChangeSet(upserts=(*map(parsed, WEB), mesh(defaultConfig=config))))
        said = proxy(PROXY_CONFIG={**config, "drainDuration": "9s", "proxyMetadata": {"A": "b"}})
        first, second = [await compiler.open(each, lambda: None) for each in (proxy(), said)]
        assert first.snapshot is second.snapshot
        own = await compiler.open(proxy(PROXY_CONFIG={"tracing": {"sampling": 3}}), lambda: None)
        for type_ in (CLUSTER, ROUTE):  # tracing shows in listeners only
            for name, resource in own.snapshot.of(type_).items():
                assert resource == first.snapshot.of(type_)[name]
        before = first.snapshot.of(LISTENER)[OUT]
        await compiler.apply(ChangeSet(upserts=(mesh(defaultConfig={HEADERS: {"server": {"value": "z"}}}),)))
        assert first.snapshot.of(LISTENER)[OUT] != before, "read again while running"

    asyncio.run(check())


def test_envoy_takes_it_all() -> None:
    config: dict[str, Any] = {HEADERS: {}, CONNECTIONS: {}, "tracing": {"sampling": 3, "customTags": {}}}
    for param in FIELDS:
        fields: Any = param.values[0]
        for key, value in fields.items():
            for name, stated in value.items():
                config[key][name] = config[key].get(name, {}) | stated if isinstance(stated, dict) else stated
    for kind in ("sidecar", "router"):
        assert validate(snapshot_of(proxy(kind), config=config)) is None
