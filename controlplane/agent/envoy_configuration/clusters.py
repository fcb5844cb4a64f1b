"""The static clusters: the agent's sockets, Envoy's own admin interface, and collectors of traces, metrics and logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import StartError
from controlplane.agent.envoy_configuration.places import FILE_SECRETS, Places, relative, socket_address
from controlplane.agent.proxy_config import ProxyConfig

Json = dict[str, Any]
XDS, SDS, FILE_SDS = "xds-grpc", "sds-grpc", "sds-files-grpc"
ADMIN, AGENT = "prometheus_stats", "agent"
_HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_UNLIMITED = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}


def clusters(config: ProxyConfig, places: Places, metadata: Mapping[str, Any]) -> list[Json]:
    """Return the clusters. Raises ``StartError`` for an address that is none."""
    found = [
        _static(ADMIN, socket_address(places.loopback, places.admin_port), "0.250s"),
        _static(AGENT, socket_address(places.loopback, places.agent_port), "0.250s"),
        _http2(_static(SDS, _pipe(places.secrets), "1s")),
    ]
    if "file-credential" in metadata:
        found.append(_http2(_static(FILE_SDS, _pipe(FILE_SECRETS), "1s")))
    found.append(_xds(places))
    found += _collectors(config, places, metadata)
    if metadata.get("ENABLE_SELF_DISCOVERY") == "true":
        found.append(_local_cluster())
    return found


def secrets_over(cluster: str, name: str) -> Json:
    """Return ``SdsSecretConfig``: a secret by its name, from a local socket."""
    service = {"envoy_grpc": {"cluster_name": cluster}}
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    return {
        "name": name,
        "sds_config": {"api_config_source": source, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
    }


def _static(name: str, address: Mapping[str, Any], timeout: str) -> Json:
    return {
        "name": name,
        "alt_stat_name": f"{name};",
        "type": "STATIC",
        "connect_timeout": timeout,
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": _one_endpoint(name, address),
    }


def _one_endpoint(name: str, address: Mapping[str, Any]) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _pipe(path: Path) -> Json:
    return {"pipe": {"path": relative(path)}}


def _http2(cluster: Json, **common: int) -> Json:
    """Return the cluster for HTTP/2; ``common`` are options for both versions of HTTP."""
    options: Json = {"@type": f"type.googleapis.com/{_HTTP2}", "explicit_http_config": {"http2_protocol_options": {}}}
    if common:
        options["common_http_protocol_options"] = common
    return {**cluster, "typed_extension_protocol_options": {_HTTP2: options}}


def _xds(places: Places) -> Json:
    """Return the agent's socket of configuration: no limit may ever stop its one stream from being opened again."""
    return {
        **_http2(_static(XDS, _pipe(places.xds), "1s"), max_requests_per_connection=1),
        "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", **_UNLIMITED}, {"priority": "HIGH", **_UNLIMITED}]},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
    }


def _local_cluster() -> Json:
    policy = {
        "name": "envoy.load_balancing_policies.least_request",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
            "locality_lb_config": {"zone_aware_lb_config": {"min_cluster_size": 1}},
        },
    }
    return {
        "name": "local_cluster",
        "alt_stat_name": "local_cluster;",
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {
            "eds_config": {"ads": {}, "resource_api_version": "V3"},
            "service_name": "local_cluster",
        },
        "load_balancing_policy": {"policies": [{"typed_extension_config": policy}]},
    }


def _collectors(config: ProxyConfig, places: Places, metadata: Mapping[str, Any]) -> Iterator[Json]:
    """Yield the clusters of what the ProxyConfig sends traces, metrics and logs to."""
    tracing = config.mapping("tracing")
    tls = tracing.get("tlsSettings")
    if zipkin := tracing.get("zipkin"):
        cluster = _resolved("zipkin", zipkin, "tracing.zipkin", places)
        yield _secured({**cluster, "dns_refresh_rate": "30s"}, tls, "tracer", metadata)
    if lightstep := tracing.get("lightstep"):
        yield _secured(_http2(_resolved("lightstep", lightstep, "tracing.lightstep", places)), tls, "tracer", metadata)
    if datadog := tracing.get("datadog"):
        yield _resolved("datadog_agent", datadog, "tracing.datadog", places)
    for name, field in (
        ("envoy_metrics_service", "envoyMetricsService"),
        ("envoy_accesslog_service", "envoyAccessLogService"),
    ):
        if (service := config.mapping(field)).get("address"):
            cluster = _secured(
                _http2(_resolved(name, service, field, places)), service.get("tlsSettings"), name, metadata
            )
            yield {**cluster, **_keepalive(service.get("tcpKeepalive"))}


def _resolved(name: str, said: Mapping[str, Any], path: str, places: Places) -> Json:
    try:
        where = TcpAddress.parse(places.expanded(str(said.get("address", ""))))
    except ValueError as error:
        raise StartError(f"ProxyConfig.{path}.address: {error}") from None
    family = "ALL" if len(places.families) > 1 else f"V{places.families[0]}_ONLY"
    return {
        **_static(name, socket_address(where.host, where.port), "1s"),
        "type": "STRICT_DNS",
        "respect_dns_ttl": True,
        "dns_lookup_family": family,
    }


def _keepalive(said: Any) -> Json:  # noqa: ANN401 - JSON
    if not isinstance(said, dict):
        return {}
    fields = {"probes": "keepalive_probes", "time": "keepalive_time", "interval": "keepalive_interval"}
    values = {
        ours: int(float(str(said[theirs]).removesuffix("s"))) for theirs, ours in fields.items() if theirs in said
    }
    return {"upstream_connection_options": {"tcp_keepalive": values}}


def _secured(cluster: Json, said: Any, name: str, metadata: Mapping[str, Any]) -> Json:  # noqa: ANN401 - JSON
    """Return the cluster with TLS as ``ClientTLSSettings`` say it."""
    mode = said.get("mode", "DISABLE") if isinstance(said, dict) else "DISABLE"
    if mode == "DISABLE":
        return cluster
    context: Json = {}
    roots = metadata.get("TLS_CLIENT_ROOT_CERT") or said.get("caCertificates", "")
    if mode in {"MUTUAL", "ISTIO_MUTUAL"}:
        chain = metadata.get("TLS_CLIENT_CERT_CHAIN") or said.get("clientCertificate", "")
        key = metadata.get("TLS_CLIENT_KEY") or said.get("privateKey", "")
        pair = f"file-cert:{chain}~{key}" if chain and key else "default"
        context["tls_certificate_sds_secret_configs"] = [secrets_over(SDS, pair)]
    validation = f"file-root:{roots}" if roots else "ROOTCA" if mode == "ISTIO_MUTUAL" else ""
    if validation:
        names = [{"exact": each} for each in said.get("subjectAltNames", ())]
        context["combined_validation_context"] = {
            "default_validation_context": {"match_subject_alt_names": names} if names else {},
            "validation_context_sds_secret_config": secrets_over(SDS, validation),
        }
    typed: Json = {"@type": _TLS, "common_tls_context": context}
    if sni := said.get("sni") or (name if mode == "ISTIO_MUTUAL" else ""):
        typed["sni"] = sni
    return {**cluster, "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": typed}}
