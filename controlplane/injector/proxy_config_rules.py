"""Rules of a ProxyConfig that a pod states, beyond the types of its fields: what no proxy could start with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from controlplane.apis.mesh import ProxyConfig
from controlplane.documents.words import is_ip, is_subdomain

_MAX_PORT = 65535
_SECOND = timedelta(seconds=1)
_PATHS = ("config_path", "binary_path", "service_cluster")
_PORTS = ("proxy_admin_port", "status_port")
_TIMES = ("drain_duration", "termination_drain_duration", "parent_shutdown_duration")


def proxy_config_problems(config: ProxyConfig) -> Iterator[str]:
    """Yield what is wrong with what is stated, each as ``field: reason``."""
    for name in config.model_fields_set:
        value = getattr(config, name)
        field = ProxyConfig.model_fields[name].alias or name
        if name in _PATHS and not value:
            yield f"{field}: must not be empty"
        if name in _PORTS and not 1 <= value <= _MAX_PORT:
            yield f"{field}: must be a port from 1 to {_MAX_PORT}, not {value}"
        if name in _TIMES and value is not None and (value < _SECOND or value % _SECOND):
            yield f"{field}: must be whole seconds, at least one"
        if name in ("concurrency", "stat_name_length") and value is not None and value < 0:
            yield f"{field}: must not be negative"
    for field, address in _addresses(config):
        if reason := _address_problem(address):
            yield f"{field}: {reason}"
    for name in config.proxy_metadata:
        if not name or "=" in name or not (name.isascii() and name.isprintable()):
            yield f"proxyMetadata: {name[:100]!r} is no name of a variable"
    lightstep = config.tracing.lightstep if config.tracing is not None else None
    if lightstep is not None and not lightstep.access_token:
        yield "tracing.lightstep.accessToken: is required"


def _addresses(config: ProxyConfig) -> Iterator[tuple[str, str]]:
    if "discovery_address" in config.model_fields_set:
        yield "discoveryAddress", config.discovery_address
    if config.statsd_udp_address:
        yield "statsdUdpAddress", config.statsd_udp_address
    for field, service in (
        ("envoyMetricsService", config.envoy_metrics_service),
        ("envoyAccessLogService", config.envoy_access_log_service),
    ):
        if service is not None:
            yield f"{field}.address", service.address
    if config.tracing is not None:
        for field, tracer in (
            ("zipkin", config.tracing.zipkin),
            ("lightstep", config.tracing.lightstep),
            ("datadog", config.tracing.datadog),
        ):
            if tracer is not None and "$(" not in tracer.address:  # a variable of the pod is filled in later
                yield f"tracing.{field}.address", tracer.address


def _address_problem(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not host:
        return f"{address[:100]!r} is not host:port"
    if not (port.isascii() and port.isdigit() and len(port) <= len(str(_MAX_PORT)) and 1 <= int(port) <= _MAX_PORT):
        return f"{port[:100]!r} is not a port from 1 to {_MAX_PORT}"
    if is_subdomain(host.lower().removesuffix(".")) or is_ip(host.removeprefix("[").removesuffix("]")):
        return ""
    return f"{host[:100]!r} is neither a host name nor an address"
