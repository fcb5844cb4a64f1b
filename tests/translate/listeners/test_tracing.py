"""Tracers of the mesh's default provider: where spans go, and what the proxy's service is called."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import yaml
from envoy.config.trace.v3.datadog_pb2 import DatadogConfig
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.config.trace.v3.skywalking_pb2 import SkyWalkingConfig
from envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.json_format import MessageToDict
from structlog.testing import capture_logs

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from tests.compiler.histories import manifest, parsed
from tests.envoy.validate import validate
from tests.translate.clusters.world import snapshot
from tests.translate.listeners.world import World, connection_manager, sidecar

HOST = "spans.obs.svc.cluster.local"
CLUSTER = f"outbound|9000||{HOST}"
SERVICES = [
    manifest(
        "v1", "Service", "obs", "spans", spec={"clusterIP": "10.0.0.9", "ports": [{"name": "grpc", "port": 9000}]}
    ),
    manifest(
        "v1", "Service", "default", "web", spec={"clusterIP": "10.0.0.8", "ports": [{"name": "http", "port": 80}]}
    ),
]
GRPC = {"envoyGrpc": {"clusterName": CLUSTER, "authority": HOST}}
CONTEXT, WITH_W3C = "trace_context_option", "USE_B3_WITH_W3C_PROPAGATION"
TOKEN = "of-the-control-plane"
OVERWRITE = {"appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}
ENVIRONMENT = {
    "name": "envoy.tracers.opentelemetry.resource_detectors.environment",
    "typedConfig": {
        "@type": "type.googleapis.com/envoy.extensions.tracers.opentelemetry."
        "resource_detectors.v3.EnvironmentResourceDetectorConfig"
    },
}
DYNATRACE = {
    "name": "envoy.tracers.opentelemetry.resource_detectors.dynatrace",
    "typedConfig": {
        "@type": "type.googleapis.com/envoy.extensions.tracers.opentelemetry."
        "resource_detectors.v3.DynatraceResourceDetectorConfig"
    },
}
WITH_TOKEN: dict[str, Any] = {"requestHeadersToAdd": [{"header": {"key": "a", "value": TOKEN}} | OVERWRITE]}


def sampler(uri: dict[str, str], more: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "envoy.tracers.opentelemetry.samplers.dynatrace",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.DynatraceSamplerConfig",
            "tenant": "t",
            "clusterId": -7,
            "httpService": {"httpUri": {"cluster": CLUSTER, "timeout": "3s"} | uri} | more,
        },
    }


NAMED = replace(sidecar(istio=False), service_cluster="web.default")


def config(kind: str, **mesh: Any) -> dict[str, Any]:
    """Return the mesh configuration with a provider of this kind; ``provider`` says more of it."""
    stated = {"service": HOST, "port": 9000, **mesh.pop("provider", {})}
    providers = [{"name": "spans", kind: stated}]
    fields = {"extensionProviders": providers, "defaultProviders": {"tracing": ["spans"]}, **mesh}
    return manifest("v1", "ConfigMap", "istio-system", "istio", data={"mesh": yaml.safe_dump(fields)})


def tracing(mesh: dict[str, Any], proxy: Proxy = NAMED) -> HttpConnectionManager.Tracing | None:
    """Return what the connection manager of port 80 is told; ``None`` where it does not trace."""
    held = World(yaml.safe_dump_all([*SERVICES, mesh]), environment={"SPANS_TOKEN": TOKEN})
    hcm = connection_manager(held.listeners(proxy)["0.0.0.0_80"].filter_chains[0])
    return hcm.tracing if hcm.HasField("tracing") else None


@pytest.mark.parametrize(
    ("kind", "provider", "message", "expected"),
    [
        pytest.param(
            "zipkin", {}, ZipkinConfig,
            {"collectorEndpointVersion": "HTTP_JSON", "traceId128bit": True, "sharedSpanContext": False,
             "collectorService": {
                 "httpUri": {"uri": f"http://{HOST}/api/v2/spans", "cluster": CLUSTER, "timeout": "5s"}}},
            id="zipkin",
        ),
        pytest.param(
            "zipkin",
            {"path": "/mine", "enable64bitTraceId": True, "traceContextOption": "USE_B3_WITH_W3C_PROPAGATION"},
            ZipkinConfig,
            {"collectorEndpointVersion": "HTTP_JSON", "sharedSpanContext": False,
             "collectorService": {"httpUri": {"uri": f"http://{HOST}/mine", "cluster": CLUSTER, "timeout": "5s"}},
             "traceContextOption": "USE_B3_WITH_W3C_PROPAGATION"},
            id="zipkin-stated",
        ),
        pytest.param(
            "zipkin", {"timeout": "2s", "headers": [{"name": "a", "envName": "SPANS_TOKEN"}]}, ZipkinConfig,
            {"collectorEndpointVersion": "HTTP_JSON", "traceId128bit": True, "sharedSpanContext": False,
             "collectorService": {
                 "httpUri": {"uri": f"http://{HOST}/api/v2/spans", "cluster": CLUSTER, "timeout": "2s"},
                 "requestHeadersToAdd": [{"header": {"key": "a", "value": TOKEN}} | OVERWRITE],
             }},
            id="zipkin-service",
        ),
        pytest.param(
            "opentelemetry", {}, OpenTelemetryConfig, {"grpcService": GRPC, "serviceName": "web.default"},
            id="otel-grpc",
        ),
        pytest.param(
            "opentelemetry",
            {"grpc": {"timeout": "2s", "initialMetadata": [{"name": "a", "value": "b"}]},
             "resourceDetectors": {"environment": {}}},
            OpenTelemetryConfig,
            {"grpcService": GRPC | {"timeout": "2s", "initialMetadata": [{"key": "a", "value": "b"}]},
             "serviceName": "web.default",
             "resourceDetectors": [ENVIRONMENT]},
            id="otel-grpc-stated",
        ),
        pytest.param(
            "opentelemetry", {"serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS"}, OpenTelemetryConfig,
            {"grpcService": GRPC, "serviceName": NAMED.id.partition(".")[0], "resourceDetectors": [ENVIRONMENT]},
            id="otel-conventions",
        ),
        pytest.param(
            "opentelemetry",
            {"http": {"path": "/v1/traces", "headers": [{"name": "a", "envName": "OTHER_TOKEN"}]}},
            OpenTelemetryConfig,
            {"httpService": {"httpUri": {"uri": f"{HOST}/v1/traces", "cluster": CLUSTER, "timeout": "3s"},
                             "requestHeadersToAdd": [{"header": {"key": "a"}} | OVERWRITE]},
             "serviceName": "web.default"},
            id="otel-http",
        ),
        pytest.param(
            "opentelemetry",
            {"http": {"path": "/v1/traces", "headers": [{"name": "a", "envName": "SPANS_TOKEN"}]},
             "resourceDetectors": {"dynatrace": {}}, "dynatraceSampler": {"tenant": "t", "clusterId": -7}},
            OpenTelemetryConfig,
            {"httpService": {"httpUri": {"uri": f"{HOST}/v1/traces", "cluster": CLUSTER, "timeout": "3s"}} | WITH_TOKEN,
             "serviceName": "web.default",
             "resourceDetectors": [DYNATRACE],
             "sampler": sampler({"uri": f"{HOST}/api/v2/samplingConfiguration"}, WITH_TOKEN)},
            id="dynatrace-asks-the-collector",
        ),
        pytest.param(
            "opentelemetry",
            {"dynatraceSampler": {"tenant": "t", "clusterId": -7,
                                  "httpService": {"service": f"obs/{HOST}", "port": 9000, "http": {"path": "/ask"}}}},
            OpenTelemetryConfig,
            {"grpcService": GRPC, "serviceName": "web.default", "sampler": sampler({"uri": f"{HOST}/ask"}, {})},
            id="dynatrace-asks-another",
        ),
        pytest.param(
            "skywalking", {"accessToken": "t"}, SkyWalkingConfig,
            {"grpcService": GRPC, "clientConfig": {"backendToken": "t"}}, id="skywalking",
        ),
        pytest.param(
            "datadog", {}, DatadogConfig,
            {"collectorCluster": CLUSTER, "collectorHostname": HOST, "serviceName": "web.default"}, id="datadog",
        ),
    ],
)  # fmt: skip
def test_tracer(kind: str, provider: dict[str, Any], message: Any, expected: dict[str, Any]) -> None:
    found = tracing(config(kind, provider=provider))
    assert found is not None
    assert found.provider.name == f"envoy.tracers.{kind}"
    assert MessageToDict(message.FromString(found.provider.typed_config.value)) == expected
    assert found.spawn_upstream_span.value == (kind == "skywalking")
    assert validate(snapshot(yaml.safe_dump_all([*SERVICES, config(kind, provider=provider)]), NAMED)) is None


def hiding(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return manifest("networking.istio.io/v1", kind, "default", name, spec=spec)


OWN_ONLY = hiding("Sidecar", "default", {"egress": [{"hosts": ["./*"]}]})
ALIAS = manifest("v1", "Service", "obs", "alias", spec={"type": "ExternalName", "externalName": "a.com"})
ENTRY = {"hosts": ["a.com"], "resolution": "DNS", "ports": [{"number": 9000, "name": "http", "protocol": "HTTP"}]}


def test_a_tracer_that_envoy_would_refuse_is_left_out_alone() -> None:
    """A token that the control plane's environment has with the end of its line; requests are served all the same."""
    mesh = config("zipkin", provider={"headers": [{"name": "a", "envName": "SPANS_TOKEN"}]})
    text = yaml.safe_dump_all([*SERVICES, mesh])
    whole, without = (
        World(text, environment={"SPANS_TOKEN": token}).listeners(NAMED)["0.0.0.0_80"] for token in ("a", "a\n")
    )
    traced, untraced = (connection_manager(each.filter_chains[0]) for each in (whole, without))
    assert traced.HasField("tracing")
    assert not untraced.HasField("tracing")
    traced.ClearField("tracing")
    assert untraced == traced
    assert without.default_filter_chain == whole.default_filter_chain


@pytest.mark.parametrize(
    ("provider", "objects", "traced"),
    [
        pytest.param({}, [], True, id="reached"),
        pytest.param({"port": 9001}, [], False, id="no-such-port"),
        pytest.param({}, [OWN_ONLY], False, id="hidden-by-a-sidecar"),
        pytest.param({"service": "alias.obs.svc.cluster.local"}, [ALIAS], False, id="another-name"),
        pytest.param({"service": "a.com"}, [hiding("ServiceEntry", "a", ENTRY)], True, id="by-dns"),
        pytest.param(
            {"service": "a.com"},
            [hiding("ServiceEntry", "a", ENTRY | {"workloadSelector": {"labels": {"app": "nobody"}}})],
            False,
            id="by-dns-of-nobody",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["zipkin", "datadog"])
def test_a_tracer_without_a_cluster_of_it_is_left_out(
    kind: str,
    provider: dict[str, Any],
    objects: list[Any],
    traced: bool,  # noqa: FBT001 - a table
) -> None:
    """Envoy refuses a listener whose tracer for Zipkin or Datadog names a cluster that is not there."""
    text = yaml.safe_dump_all([*SERVICES, *objects, config(kind, provider=provider)])
    hcm = connection_manager(World(text).listeners(NAMED)["0.0.0.0_80"].filter_chains[0])
    assert hcm.HasField("tracing") == traced
    assert validate(snapshot(text, NAMED)) is None


def test_a_collector_that_is_not_reached_is_told_once_whatever_else_changes() -> None:
    world = World(yaml.safe_dump_all([*SERVICES, config("zipkin", provider={"port": 9001})]))
    other = {"clusterIP": "10.0.0.7", "ports": [{"name": "http", "port": 80}]}
    with capture_logs() as logs:
        world.listeners(NAMED)
        world.apply(yaml.safe_dump(manifest("v1", "Service", "default", "other", spec=other)))
        world.listeners(NAMED)
    assert [each["event"] for each in logs].count("registry.collector_not_reached") == 1


def test_datadog_has_a_name_for_a_proxy_without_a_cluster_of_its_own() -> None:
    """Envoy refuses a tracer without one."""
    found = tracing(config("datadog"), replace(NAMED, service_cluster=""))
    assert found is not None
    assert DatadogConfig.FromString(found.provider.typed_config.value).service_name == NAMED.id.partition(".")[0]


@pytest.mark.parametrize(
    ("mesh", "traced", "provider"),
    [
        pytest.param(config("zipkin", provider={"service": "obs/" + HOST}), True, True, id="in-its-namespace"),
        pytest.param(config("zipkin", provider={"service": "web/" + HOST}), False, False, id="in-no-such-namespace"),
        pytest.param(config("zipkin", provider={"service": "unknown"}), False, False, id="unknown-service"),
        pytest.param(config("zipkin", enableTracing=False), True, True, id="not-asked-whether"),
        pytest.param(config("zipkin", defaultProviders={"tracing": ["other"]}), False, False, id="unknown-provider"),
        pytest.param(config("zipkin", defaultProviders={"tracing": ["envoy"]}), False, False, id="of-another-kind"),
        pytest.param(config("zipkin", defaultProviders={}), True, False, id="not-default"),
        pytest.param(config("zipkin", defaultProviders={}, enableTracing=False), False, False, id="switched-off"),
    ],
)
def test_which_provider(mesh: dict[str, Any], traced: bool, provider: bool) -> None:  # noqa: FBT001 - a table
    found = tracing(mesh)
    assert (found is not None) == traced
    assert (found is not None and found.HasField("provider")) == provider


@pytest.mark.parametrize(
    ("proxy", "fields"),
    [
        ({"istio_version": "1.27.3"}, {"collector_cluster", "collector_endpoint", "collector_hostname"}),
        ({"istio_version": "1.28.0"}, {"collector_cluster", "collector_endpoint", "collector_hostname", CONTEXT}),
        ({"istio_version": "1.29.0-beta.1"}, {"collector_service", CONTEXT}),
        ({"istio_version": "mine"}, {"collector_service", CONTEXT}),
        ({"envoy_minor": 36}, {"collector_cluster", "collector_endpoint", "collector_hostname", CONTEXT}),
        ({"envoy_minor": 37}, {"collector_service", CONTEXT}),
        ({}, {"collector_service", CONTEXT}),
    ],
)
def test_a_proxy_is_told_what_its_envoy_knows(proxy: dict[str, Any], fields: set[str]) -> None:
    found = tracing(config("zipkin", provider={"traceContextOption": WITH_W3C}), replace(NAMED, **proxy))
    assert found is not None
    known = {field.name for field, _ in ZipkinConfig.FromString(found.provider.typed_config.value).ListFields()}
    assert known - {"collector_endpoint_version", "trace_id_128bit", "shared_span_context"} == fields


@pytest.mark.parametrize(("minor", "told"), [(37, False), (38, True)])
def test_requests_that_do_not_carry_the_trace_on(minor: int, *, told: bool) -> None:
    """The library of messages does not know the field; Envoy does."""
    spec = {"tracing": [{"providers": [{"name": "spans"}], "disableContextPropagation": True}]}
    stated = manifest("telemetry.istio.io/v1", "Telemetry", "default", "t", spec=spec)
    proxy = replace(NAMED, envoy_minor=minor)
    held = World(yaml.safe_dump_all([*SERVICES, config("zipkin"), stated]))
    hcm = connection_manager(held.listeners(proxy)["0.0.0.0_80"].filter_chains[0])
    assert (b"\x68\x01" in hcm.tracing.SerializeToString()) == told
    assert validate(snapshot(yaml.safe_dump_all([*SERVICES, config("zipkin"), stated]), proxy)) is None


def test_a_sampler_that_has_nobody_to_ask_leaves_nothing_traced() -> None:
    assert tracing(config("opentelemetry", provider={"dynatraceSampler": {"tenant": "t"}})) is None
    unknown = {"dynatraceSampler": {"tenant": "t", "httpService": {"service": "unknown", "port": 1}}}
    assert tracing(config("opentelemetry", provider=unknown)) is None
    known = {"dynatraceSampler": {"tenant": "t", "httpService": {"service": HOST, "port": 9000}}}
    found = tracing(config("opentelemetry", provider=known, defaultConfig={"tracing": {"sampling": 3}}))
    assert found is not None
    assert found.random_sampling.value == 100


def test_the_providers_longest_path_goes_before_the_meshs() -> None:
    mesh = config("zipkin", provider={"maxTagLength": 7}, defaultConfig={"tracing": {"maxPathTagLength": 9}})
    found = tracing(mesh)
    assert found is not None
    assert found.max_path_tag_length.value == 7
    found = tracing(config("zipkin", defaultConfig={"tracing": {"maxPathTagLength": 9, "sampling": 3}}))
    assert found is not None
    assert (found.max_path_tag_length.value, found.random_sampling.value) == (9, 3)


def test_the_name_of_a_service_sets_only_listeners_apart() -> None:
    """Two services share everything until a tracer wants to know their names, and then all but HTTP listeners."""

    async def check() -> None:
        compiler = Compiler(Registry())
        await compiler.apply(ChangeSet(upserts=tuple(map(parsed, SERVICES))))
        one, two = [
            await compiler.open(replace(sidecar(), service_cluster=name), lambda: None) for name in ("one", "two")
        ]
        assert one.snapshot is two.snapshot
        await compiler.apply(ChangeSet(upserts=(parsed(config("opentelemetry")),)))
        differ = {
            (type_, name)
            for type_ in ResourceType
            for name, resource in one.snapshot.of(type_).items()
            if two.snapshot.of(type_)[name] is not resource
        }
        assert {type_ for type_, _ in differ} == {ResourceType.LISTENER}
        await compiler.apply(ChangeSet(upserts=(parsed(config("zipkin")),)))
        assert one.snapshot is two.snapshot

    asyncio.run(check())


def test_a_gateways_request_to_the_service_is_a_span_of_its_own() -> None:
    gateway = manifest(
        "networking.istio.io/v1", "Gateway", "default", "gate",
        spec={"selector": {"istio": "gate"},
              "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]},
    )  # fmt: skip
    held = World(yaml.safe_dump_all([*SERVICES, gateway, config("zipkin")]))
    router = replace(NAMED, type="router", labels={"istio": "gate"})
    (listener,) = (found for name, found in held.listeners(router).items() if name.endswith("_80"))
    assert connection_manager(listener.filter_chains[0]).tracing.spawn_upstream_span.value


CONVENTIONS = {"serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS"}


@pytest.mark.parametrize(
    ("proxy", "name"),
    [
        ({"metadata": {"ANNOTATIONS": {"resource.opentelemetry.io/service.name": "stated"}}}, "stated"),
        ({"labels": {"app.kubernetes.io/instance": "one", "app.kubernetes.io/name": "web"}}, "one"),
        ({"labels": {"app.kubernetes.io/name": "web"}}, "web"),
        ({"metadata": {"WORKLOAD_NAME": "deployed"}}, "deployed"),
        ({"id": "pod-1.default"}, "pod-1"),
        ({"id": ".default", "metadata": {"APP_CONTAINERS": "app"}}, "app"),
        ({"id": ".default", "metadata": {"APP_CONTAINERS": "app,other"}}, "unknown_service"),
    ],
)
def test_what_opentelemetrys_conventions_call_a_workload(proxy: dict[str, Any], name: str) -> None:
    found = tracing(config("opentelemetry", provider=CONVENTIONS), replace(NAMED, **proxy))
    assert found is not None
    assert OpenTelemetryConfig.FromString(found.provider.typed_config.value).service_name == name
