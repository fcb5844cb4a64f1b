"""Access logs of the mesh's default providers, which need no Telemetry, and of the bootstrap's collector."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig
from envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import OpenTelemetryAccessLogConfig
from google.protobuf.json_format import MessageToDict

from controlplane.registry.access_logs import AccessLogs
from controlplane.translate.listeners.access_log import DEFAULT_TEXT, access_logs, listener_access_logs
from tests.envoy.validate import validate
from tests.translate.listeners.world import World, connection_manager, mesh_yaml, settings_of, sidecar

ALS = {
    "name": "als",
    "envoyHttpAls": {
        "service": "als.obs.svc.cluster.local",
        "port": 9000,
        "logName": "mine",
        "additionalRequestHeadersToLog": ["x-a"],
        "filterStateObjectsToLog": ["f"],
    },
}
TCP = {"name": "tcp", "envoyTcpAls": {"service": "obs/als.obs.svc.cluster.local", "port": 9000}}
OTEL = {
    "name": "otel",
    "envoyOtelAls": {
        "service": "als.obs.svc.cluster.local",
        "port": 9000,
        "logFormat": {"text": "%PROTOCOL%", "labels": {"b": "%START_TIME%", "a": "1"}},
    },
}
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: als, namespace: obs}
spec: {clusterIP: 10.0.0.9, ports: [{name: grpc, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.0.0.8, ports: [{name: http, port: 80}, {name: tcp, port: 90}]}
"""


def mesh_of(**fields: Any) -> AccessLogs:
    return settings_of(yaml.safe_dump(fields)).logs


def world(**fields: Any) -> World:
    held = World(SERVICE)
    held.apply(config(**fields))
    return held


def config(**fields: Any) -> str:
    return mesh_yaml(yaml.safe_dump(fields))


def logs_of(held: World) -> list[AccessLog]:
    return list(connection_manager(held.listeners(sidecar(istio=False))["0.0.0.0_80"].filter_chains[0]).access_log)


def test_http_collector() -> None:
    (log,) = logs_of(world(extensionProviders=[ALS], defaultProviders={"accessLogging": ["als"]}))
    found = HttpGrpcAccessLogConfig.FromString(log.typed_config.value)
    assert log.name == "envoy.access_loggers.http_grpc"
    assert MessageToDict(found) == {
        "commonConfig": {
            "logName": "mine",
            "transportApiVersion": "V3",
            "filterStateObjectsToLog": ["f"],
            "grpcService": {
                "envoyGrpc": {
                    "clusterName": "outbound|9000||als.obs.svc.cluster.local",
                    "authority": "als.obs.svc.cluster.local",
                }
            },
        },
        "additionalRequestHeadersToLog": ["x-a"],
    }


def test_tcp_collector_with_a_namespace() -> None:
    (log,) = logs_of(world(extensionProviders=[TCP], defaultProviders={"accessLogging": ["tcp"]}))
    found = TcpGrpcAccessLogConfig.FromString(log.typed_config.value).common_config
    assert found.log_name == "tcp_envoy_accesslog"
    assert found.grpc_service.envoy_grpc.cluster_name == "outbound|9000||als.obs.svc.cluster.local"
    assert list(found.filter_state_objects_to_log) == ["upstream_peer", "downstream_peer"]


def test_opentelemetry_collector() -> None:
    (log,) = logs_of(world(extensionProviders=[OTEL], defaultProviders={"accessLogging": ["otel"]}))
    found = OpenTelemetryAccessLogConfig.FromString(log.typed_config.value)
    assert found.common_config.log_name == "otel_envoy_accesslog"
    assert "wasm.upstream_peer" in found.common_config.filter_state_objects_to_log
    assert found.disable_builtin_labels
    assert found.body.string_value == "%PROTOCOL%"
    assert [(each.key, each.value.string_value) for each in found.attributes.values] == [
        ("a", "1"),
        ("b", "%START_TIME%"),
    ]


def test_a_collector_that_is_no_service_leaves_the_meshs_log_until_it_comes() -> None:
    fields = {"extensionProviders": [ALS], "defaultProviders": {"accessLogging": ["als"]}, "accessLogFile": "/x"}
    held = World(SERVICE.partition("---")[2])
    held.apply(config(**fields))
    assert [log.name for log in logs_of(held)] == ["envoy.access_loggers.file"]
    held.apply(SERVICE)
    assert [log.name for log in logs_of(held)] == ["envoy.access_loggers.http_grpc"]


def test_a_host_of_two_namespaces_needs_the_namespace() -> None:
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: als, namespace: other}
spec: {hosts: [als.obs.svc.cluster.local], ports: [{number: 9000, name: grpc, protocol: GRPC}], resolution: NONE}
"""
    bare = world(extensionProviders=[ALS], defaultProviders={"accessLogging": ["als"]})
    bare.apply(entry)
    assert logs_of(bare) == []
    stated = world(extensionProviders=[TCP], defaultProviders={"accessLogging": ["tcp"]})
    stated.apply(entry)
    assert len(logs_of(stated)) == 1


def test_the_collector_of_the_bootstrap() -> None:
    mesh = mesh_of(enableEnvoyAccessLogService=True, accessLogFile="/x")
    assert [log.name for log in access_logs(mesh)] == ["envoy.access_loggers.file", "envoy.access_loggers.http_grpc"]
    assert [log.name for log in access_logs(mesh, http=False)][1] == "envoy.tcp_grpc_access_log"
    listener = listener_access_logs(mesh)[1]
    found = TcpGrpcAccessLogConfig.FromString(listener.typed_config.value).common_config
    assert found.log_name == "listener_envoy_accesslog"
    assert found.grpc_service.envoy_grpc.cluster_name == "envoy_accesslog_service"
    assert list(listener.filter.response_flag_filter.flags) == ["NR"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({"defaultProviders": {"accessLogging": ["mine"]}}, DEFAULT_TEXT, id="not-the-meshs-format"),
        pytest.param({"defaultProviders": {"accessLogging": ["envoy"]}}, "mesh\n", id="built-in-follows-the-mesh"),
    ],
)
def test_format_of_a_file_provider(fields: dict[str, Any], text: str) -> None:
    mesh = mesh_of(accessLogFormat="mesh", extensionProviders=[{"name": "mine", "envoyFileAccessLog": {}}], **fields)
    (log,) = access_logs(mesh)
    form = FileAccessLog.FromString(log.typed_config.value).log_format
    assert form.text_format_source.inline_string == text


def test_a_file_provider_without_a_path_writes_to_standard_output() -> None:
    files = [{"name": "mine", "envoyFileAccessLog": {"path": ""}}, {"name": "other", "envoyFileAccessLog": {}}]
    mesh = mesh_of(extensionProviders=files, defaultProviders={"accessLogging": ["mine", "other"]})
    paths = [FileAccessLog.FromString(log.typed_config.value).path for log in access_logs(mesh)]
    assert paths == 2 * ["/dev/stdout"]


def test_the_built_in_provider_follows_the_meshs_encoding() -> None:
    mesh = mesh_of(
        accessLogEncoding="JSON",
        accessLogFormat=json.dumps({"p": "%PROTOCOL%"}),
        defaultProviders={"accessLogging": ["envoy"]},
    )
    (log,) = access_logs(mesh)
    assert MessageToDict(FileAccessLog.FromString(log.typed_config.value).log_format.json_format) == {"p": "%PROTOCOL%"}


def test_envoy_takes_them_all() -> None:
    every = world(
        extensionProviders=[ALS, TCP, OTEL], defaultProviders={"accessLogging": ["als", "tcp", "otel", "envoy"]}
    )
    legacy = world(accessLogFile="/dev/stdout", enableEnvoyAccessLogService=True)
    for held in (every, legacy):
        assert validate(held.resources(sidecar(istio=False)).values()) is None
