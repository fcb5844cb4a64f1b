"""What Envoy checks of a cluster beside its kind: health checks, ejection, protocols, and extensions by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.constraints.last_filters import protocol_faults

Wrong = Iterator[tuple[str, str]]

_PROTOCOLS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PROTOCOLS_TOO = "envoy.upstreams.http.http_protocol_options"  # Envoy reads what has this name, and heeds the other
_QUIC = "envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport"
_RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_KIND_BY_NAME = "envoy.cluster"  # how the names begin of those that Envoy finds by them
_BASE_EJECTION_SECONDS = 30
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "OPTIONS"})
_BY_NAME = "is required: {} is not found by its name alone"


def upstream_faults(cluster: Any) -> Wrong:  # noqa: ANN401 - envoy.config.cluster.v3.Cluster, here and below
    """Check what has nothing to do with where the endpoints come from."""
    custom = cluster.cluster_type
    if (
        cluster.HasField("cluster_type")
        and not custom.HasField("typed_config")
        and not custom.name.startswith(_KIND_BY_NAME)
    ):
        yield "cluster_type.typed_config", _BY_NAME.format(custom.name)
    for index, each in enumerate(cluster.filters):
        if not each.HasField("typed_config") and not each.HasField("config_discovery"):
            yield f"filters[{index}].typed_config", _BY_NAME.format(each.name)
    for index, each in enumerate(cluster.transport_socket_matches):
        if not each.HasField("transport_socket"):
            yield f"transport_socket_matches[{index}].transport_socket", "is required"
    yield from _health_checks(cluster)
    yield from _outliers(cluster.outlier_detection)
    yield from _protocols(cluster)


def _health_checks(cluster: Any) -> Wrong:  # noqa: ANN401
    several = len(cluster.health_checks) > 1
    for index, each in enumerate(cluster.health_checks):
        path = f"health_checks[{index}]"
        if several and not getattr(each, "name", ""):  # a field that the messages here do not have yet
            yield f"{path}.name", "is required where there are several"
        match each.WhichOneof("health_checker"):
            case "http_health_check":
                yield from _http_health_check(f"{path}.http_health_check", each.http_health_check, _is_quic(cluster))
            case "custom_health_check" if not each.custom_health_check.HasField("typed_config"):
                yield f"{path}.custom_health_check.typed_config", _BY_NAME.format(each.custom_health_check.name)


def _http_health_check(path: str, check: Any, is_quic: bool) -> Wrong:  # noqa: ANN401, FBT001 - a fact
    if check.codec_client_type == 2 and not is_quic:  # noqa: PLR2004 - HTTP3 of envoy.type.v3.CodecClientType
        yield f"{path}.codec_client_type", "may not be HTTP3 without a transport socket of QUIC: Envoy crashes"
    for field in ("expected_statuses", "retriable_statuses"):
        for index, each in enumerate(getattr(check, field)):
            if each.start >= each.end:
                yield f"{path}.{field}[{index}]", "must begin before it ends"
    if check.HasField("send") and _method(check) not in _WITH_BODY:
        yield f"{path}.send", f"is not for the method {_method(check)}"


def _method(check: Any) -> str:  # noqa: ANN401
    name = str(check.DESCRIPTOR.fields_by_name["method"].enum_type.values_by_number[check.method].name)
    return "GET" if name == "METHOD_UNSPECIFIED" else name


def _outliers(stated: Any) -> Wrong:  # noqa: ANN401
    base = _seconds(stated.base_ejection_time) if stated.HasField("base_ejection_time") else _BASE_EJECTION_SECONDS
    if stated.HasField("max_ejection_time") and _seconds(stated.max_ejection_time) < base:
        yield "outlier_detection.max_ejection_time", f"must be at least base_ejection_time, {base:g} seconds"


def _seconds(duration: Any) -> float:  # noqa: ANN401
    return float(duration.seconds) + float(duration.nanos) / 1e9


def _is_quic(cluster: Any) -> bool:  # noqa: ANN401
    return str(cluster.transport_socket.typed_config.type_url).endswith(f"/{_QUIC}")


def _is_plain(cluster: Any) -> bool:  # noqa: ANN401
    kind = str(cluster.transport_socket.typed_config.type_url)
    return not cluster.HasField("transport_socket") or kind.endswith(f"/{_RAW}")


def _protocols(cluster: Any) -> Wrong:  # noqa: ANN401
    for name, packed in cluster.typed_extension_protocol_options.items():
        if not packed.type_url.endswith(f"/{_PROTOCOLS}"):
            continue
        path = f"typed_extension_protocol_options[{name}]"
        if name not in {_PROTOCOLS, _PROTOCOLS_TOO}:
            yield path, f"must have the name {_PROTOCOLS}"
        yield from ((f"{path}.{at}", reason) for at, reason in _http_protocols(packed, cluster))


def _http_protocols(packed: Any, cluster: Any) -> Wrong:  # noqa: ANN401
    from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import (  # noqa: PLC0415 - where one is met
        HttpProtocolOptions,
    )

    stated: Any = HttpProtocolOptions()
    if not packed.Unpack(stated):
        return
    for choice in ("explicit_http_config", "use_downstream_protocol_config"):
        if (
            stated.HasField(choice)
            and getattr(stated, choice).HasField("http3_protocol_options")
            and not _is_quic(cluster)
        ):
            yield f"{choice}.http3_protocol_options", "needs a transport socket of QUIC"
    auto = stated.auto_config
    if auto.HasField("http3_protocol_options") and not auto.HasField("alternate_protocols_cache_options"):
        yield "auto_config.alternate_protocols_cache_options", "is required for HTTP/3"
    if stated.HasField("auto_config") and _is_plain(cluster):
        yield "auto_config", "needs a transport socket of TLS, which agrees on a protocol"
    yield from protocol_faults(stated)
