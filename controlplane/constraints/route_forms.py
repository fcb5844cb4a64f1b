"""What Envoy checks of what a route, or something above it, says to HTTP filters (``typed_per_filter_config``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from controlplane.kept import kept
from controlplane.patches.messages import load_type

Wrong = Iterator[tuple[str, str]]

_HTTP = "envoy.extensions.filters.http."
_OF_OTHERS = "v3alpha"  # the version of filters that Envoy's own repository builds for others only
_WRAPPER = "envoy.config.route.v3.FilterConfig"
_NOT_FOR_ROUTES = "is not for routes"  # which Envoy overlooks where it is optional
_FOR_ROUTES = ("PerRoute", "PerRouteConfig", "Policy", "Override")
#: settings of filters that are also what a route says to them
_SAME = frozenset(
    f"{_HTTP}{name}"
    for name in (
        "bandwidth_limit.v3.BandwidthLimit",
        "custom_response.v3.CustomResponse",
        "fault.v3.HTTPFault",
        "file_system_buffer.v3.FileSystemBufferFilterConfig",
        "grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder",
        "grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "header_to_metadata.v3.Config",
        "json_to_metadata.v3.JsonToMetadata",
        "local_ratelimit.v3.LocalRateLimit",
        "set_filter_state.v3.Config",
        "set_metadata.v3.Config",
        "transform.v3.TransformConfig",
    )
)
#: what their names promise, and Envoy does not keep
_NEVER = frozenset(
    f"{_HTTP}{name}"
    for name in ("rate_limit_quota.v3.RateLimitQuotaOverride", "thrift_to_metadata.v3.ThriftToMetadataPerRoute")
)


def route_settings_faults(held: Any) -> Wrong:  # noqa: ANN401 - a generated message, here and below
    """Check what a route, or something above it, says to filters: each knows one type of that."""
    for name, packed in held.typed_per_filter_config.items():
        where = f"typed_per_filter_config[{name}]"
        kind, optional = packed.type_url.rpartition("/")[2], False
        if kind == _WRAPPER:
            wrapper = _message(packed)
            if wrapper is None or wrapper.disabled:  # Envoy does not look at what is said to a filter that is off
                continue
            packed, optional = wrapper.config, wrapper.is_optional  # noqa: PLW2901 - what is wrapped
            where, kind = f"{where}.config", packed.type_url.rpartition("/")[2]
        if (problem := _problem_of(kind)) and not (optional and problem.endswith(_NOT_FOR_ROUTES)):
            yield where, problem
        elif (check := _OF_ROUTES.get(kind)) is not None and (stated := _message(packed)) is not None:
            yield from ((f"{where}.{path}", reason) for path, reason in check(stated))


def _message(packed: Any) -> Any:  # noqa: ANN401
    """Return the packed message; ``None`` where the bytes are none, which another check tells."""
    kind = packed.type_url.rpartition("/")[2]
    load_type(kind)
    try:
        descriptor: Any = descriptor_pool.Default().FindMessageTypeByName(kind)
        return GetMessageClass(descriptor).FromString(packed.value)
    except (KeyError, DecodeError):
        return None


@kept(1024)
def _problem_of(kind: str) -> str:
    """Return why a route may not state this type, empty where it may and where nothing is known."""
    if not kind.startswith(_HTTP) or _OF_OTHERS in kind or kind in _SAME:
        return ""
    load_type(kind)
    try:
        file: Any = descriptor_pool.Default().FindMessageTypeByName(kind).file
    except KeyError:
        return ""
    for_routes = [each.full_name for each in file.message_types_by_name.values() if each.name.endswith(_FOR_ROUTES)]
    for_routes = [each for each in for_routes if each not in _NEVER]
    if kind in for_routes:
        return ""
    return f"must be a {for_routes[0]} instead of {kind}" if for_routes else f"{kind} {_NOT_FOR_ROUTES}"


def _bucket(stated: Any) -> Wrong:  # noqa: ANN401
    """A ``LocalRateLimit``, whose bucket is its own."""
    if not stated.HasField("token_bucket"):
        yield "token_bucket", "is required for a route"


def _bandwidth(stated: Any) -> Wrong:  # noqa: ANN401
    """A ``BandwidthLimit``, whose limit is its own."""
    if not stated.HasField("limit_kbps"):
        yield "limit_kbps", "is required for a route"


def _either_rules(stated: Any) -> Wrong:  # noqa: ANN401
    """What makes metadata of headers or of JSON, which has to make some."""
    if not _given(stated, "request_rules") and not _given(stated, "response_rules"):
        yield "request_rules", "must be given, or response_rules"


def _given(stated: Any, field: str) -> bool:  # noqa: ANN401
    repeated = stated.DESCRIPTOR.fields_by_name[field].is_repeated
    return bool(getattr(stated, field)) if repeated else bool(stated.HasField(field))


_OF_ROUTES: Mapping[str, Callable[[Any], Wrong]] = {
    f"{_HTTP}bandwidth_limit.v3.BandwidthLimit": _bandwidth,
    f"{_HTTP}header_to_metadata.v3.Config": _either_rules,
    f"{_HTTP}json_to_metadata.v3.JsonToMetadata": _either_rules,
    f"{_HTTP}local_ratelimit.v3.LocalRateLimit": _bucket,
}
