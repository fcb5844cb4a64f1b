"""The bootstrap as one JSON document. Source: ``envoy.config.bootstrap.v3.Bootstrap``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import StartError
from controlplane.agent.envoy_configuration.clusters import XDS, clusters
from controlplane.agent.envoy_configuration.listeners import listeners
from controlplane.agent.envoy_configuration.places import Places, socket_address
from controlplane.agent.envoy_configuration.stats import stats_config
from controlplane.agent.options import Options
from controlplane.agent.proxy_config import ProxyConfig
from controlplane.documents.words import is_ip
from controlplane.model.compliance import COMPLIANCE_POLICY, FIPS_140_2

Json = dict[str, Any]

_TEXT_LOG = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"
_JSON_LOG = {
    "time": "%Y-%m-%dT%T.%fZ",
    "level": "%l",
    "scope": "envoy %n",
    "msg": "%j",
    "caller": "%g:%#",
    "thread": "%t",
}
_RUNTIME: Mapping[str, Any] = {
    "re2.max_program_size.error_level": "32768",
    "envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst": True,
    "envoy.reloadable_features.http_reject_path_with_fragment": False,
    "envoy.reloadable_features.fixed_heap_use_allocated": True,
    "envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update": False,
}
_STRIP_FRAGMENT = "HTTP_STRIP_FRAGMENT_FROM_PATH_UNSAFE_IF_DISABLED"
_CONNECTION_LIMIT = "overload.global_downstream_max_connections"
_UNLIMITED = 2147483647
_FROM_ADS = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
# Between attempts to reach the agent Envoy waits a random part of an interval that doubles up to this; its own limit of
# 30 s leaves a proxy without changes for long after a restart of the control plane.
_RECONNECT = {"retry_back_off": {"base_interval": "0.5s", "max_interval": "5s"}}


def document(options: Options, places: Places, node: Mapping[str, Any]) -> Json:
    """Return the whole bootstrap. Raises ``StartError``, which names what cannot be translated."""
    config, environment, metadata = options.config, options.environment, node["metadata"]
    delta = environment.flag("ISTIO_DELTA_XDS", default=True)
    found: Json = {
        "application_log_config": {"log_format": _log_format(as_json=options.flags.log_as_json)},
        "node": dict(node),
        "layered_runtime": {"layers": _layers(options)},
        "bootstrap_extensions": _extensions(metadata, delta=delta),
        "stats_config": stats_config(options, metadata),
        "admin": {
            "access_log": [
                {
                    "name": "envoy.access_loggers.file",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                        "path": "/dev/null",
                    },
                }
            ],
            "profile_path": "/var/lib/istio/data/envoy.prof",
            "address": socket_address(places.loopback, places.admin_port),
        },
        "dynamic_resources": {
            "lds_config": _FROM_ADS,
            "cds_config": _FROM_ADS,
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "set_node_on_first_message_only": True,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS, "retry_policy": _RECONNECT}}],
            },
        },
        "static_resources": {
            "listeners": listeners(
                places,
                compressed=config.flag("statsCompression", default=True),
                proxy_protocol=environment.flag("ENVOY_STATUS_PORT_ENABLE_PROXY_PROTOCOL"),
            ),
            "clusters": clusters(config, places, metadata),
        },
        "overload_manager": {"resource_monitors": [_connection_limit(config)]},
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
    }
    return (
        found
        | _intervals(options)
        | _tracing(config, str(node["cluster"]))
        | _sinks(config, places)
        | _manager(metadata)
    )


def _log_format(*, as_json: bool) -> Json:
    return {"json_format": _JSON_LOG} if as_json else {"text_format": _TEXT_LOG}


def _layers(options: Options) -> list[Json]:
    values = dict(_RUNTIME)
    if not options.environment.flag(_STRIP_FRAGMENT, default=True):
        values[f"envoy.reloadable_features.{_STRIP_FRAGMENT.lower()}"] = "false"
    if options.environment.text(COMPLIANCE_POLICY) == FIPS_140_2:
        values["envoy.reloadable_features.google_grpc_disable_tls_13"] = "true"
    for name, value in options.config.mapping("runtimeValues").items():
        if value == "":
            values.pop(name, None)
        else:
            values[name] = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    return [{"name": "global config", "static_layer": values}, {"name": "admin", "admin_layer": {}}]


def _extensions(metadata: Mapping[str, Any], *, delta: bool) -> list[Json]:
    """Return the extensions; discovery of workloads is one that only Istio's build of Envoy has."""
    found = []
    if metadata.get("METADATA_DISCOVERY") == "true" and delta:
        extension = "type.googleapis.com/istio.workload.BootstrapExtension"
        found.append(_extension("metadata_discovery", extension, {"config_source": {"ads": {}}}))
    internal = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
    return [*found, _extension("envoy.bootstrap.internal_listener", internal, {"buffer_size_kb": 64})]


def _extension(name: str, type_url: str, value: Json) -> Json:
    wrapper = "type.googleapis.com/udpa.type.v1.TypedStruct"
    return {"name": name, "typed_config": {"@type": wrapper, "type_url": type_url, "value": value}}


def _intervals(options: Options) -> Json:
    found = {}
    for field, name in (
        ("stats_flush_interval", "statsFlushInterval"),
        ("stats_eviction_interval", "statsEvictionInterval"),
    ):
        if said := options.annotations.get(f"sidecar.istio.io/{name}"):
            found[field] = said
    return found


def _connection_limit(config: ProxyConfig) -> Json:
    said = (
        config.mapping("connectionSettings").get("globalDownstreamConnectionLimit")
        or config.metadata.get("ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS")
        or config.mapping("runtimeValues").get(_CONNECTION_LIMIT)
        or _UNLIMITED
    )
    if not str(said).isdecimal():
        raise StartError(f"the limit of connections must be a whole number, not {said!r}")
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {"@type": f"type.googleapis.com/{kind}", "max_active_downstream_connections": str(said)},
    }


def _tracing(config: ProxyConfig, cluster: str) -> Json:
    said = config.mapping("tracing")
    if said.get("zipkin"):
        name, kind = "envoy.tracers.zipkin", "ZipkinConfig"
        value: Json = {
            "collector_cluster": "zipkin",
            "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON",
            "trace_id_128bit": True,
            "shared_span_context": False,
        }
    elif said.get("lightstep"):
        name, kind = "envoy.tracers.lightstep", "LightstepConfig"
        token = f"{config.text('configPath')}/lightstep_access_token.txt"
        value = {"collector_cluster": "lightstep", "access_token_file": token}
    elif said.get("datadog"):
        name, kind = "envoy.tracers.datadog", "DatadogConfig"
        value = {"collector_cluster": "datadog_agent", "service_name": cluster}
    else:
        return {}
    return {
        "tracing": {
            "http": {
                "name": name,
                "typed_config": {"@type": f"type.googleapis.com/envoy.config.trace.v3.{kind}", **value},
            }
        }
    }


def _sinks(config: ProxyConfig, places: Places) -> Json:
    found = []
    if config.mapping("envoyMetricsService").get("address"):
        service = {"envoy_grpc": {"cluster_name": "envoy_metrics_service"}}
        kind = "type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig"
        typed: Json = {"@type": kind, "transport_api_version": "V3", "grpc_service": service}
        found.append({"name": "envoy.stat_sinks.metrics_service", "typed_config": typed})
    if text := config.text("statsdUdpAddress"):
        try:
            where = TcpAddress.parse(places.expanded(text))
        except ValueError as error:
            raise StartError(f"ProxyConfig.statsdUdpAddress: {error}") from None
        typed = {
            "@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink",
            "address": socket_address(_resolved(where.host), where.port),
        }
        found.append({"name": "envoy.stat_sinks.statsd", "typed_config": typed})
    return {"stats_sinks": found} if found else {}


def _resolved(host: str) -> str:
    """Return an address of a host: this sink takes no name. Raises ``StartError``."""
    if is_ip(host):
        return host
    import socket  # noqa: PLC0415 - only for this

    try:
        return socket.getaddrinfo(host, None, proto=socket.IPPROTO_UDP)[0][4][0].__str__()
    except OSError as error:
        raise StartError(f"ProxyConfig.statsdUdpAddress: {host} cannot be resolved: {error}") from None


def _manager(metadata: Mapping[str, Any]) -> Json:
    """Return the settings of the cluster manager, where something asks for any."""
    found: Json = {}
    if metadata.get("ENABLE_SELF_DISCOVERY") == "true":
        found["local_cluster_name"] = "local_cluster"
    if path := metadata.get("OUTLIER_LOG_PATH"):
        found["outlier_detection"] = {"event_log_path": path}
    if load := metadata.get("LOAD_STATS_CONFIG_JSON"):
        from controlplane.documents.json_reader import json_value  # noqa: PLC0415 - rare

        found["load_stats_config"] = json_value(load) if isinstance(load, str) else load
    return {"cluster_manager": found | {"enable_deferred_cluster_creation": True}} if found else {}
