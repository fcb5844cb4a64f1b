"""Whether the patches of an EnvoyFilter can be applied at all, and what is doubtful in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from controlplane.apis.envoy_filter import ApplyTo, EnvoyConfigObjectPatch, EnvoyFilter, PatchOperation
from controlplane.apis.validation.report import Findings, Report
from controlplane.patches.idle import idle_reason
from controlplane.patches.messages import decode, type_name

RENAMED: Mapping[str, str] = {
    "envoy.buffer": "envoy.filters.http.buffer",
    "envoy.client_ssl_auth": "envoy.filters.network.client_ssl_auth",
    "envoy.cors": "envoy.filters.http.cors",
    "envoy.csrf": "envoy.filters.http.csrf",
    "envoy.echo": "envoy.filters.network.echo",
    "envoy.ext_authz": "envoy.filters.http.ext_authz",
    "envoy.fault": "envoy.filters.http.fault",
    "envoy.grpc_http1_bridge": "envoy.filters.http.grpc_http1_bridge",
    "envoy.grpc_json_transcoder": "envoy.filters.http.grpc_json_transcoder",
    "envoy.grpc_web": "envoy.filters.http.grpc_web",
    "envoy.gzip": "envoy.filters.http.compressor",
    "envoy.health_check": "envoy.filters.http.health_check",
    "envoy.http_connection_manager": "envoy.filters.network.http_connection_manager",
    "envoy.http_dynamo_filter": "envoy.filters.http.dynamo",
    "envoy.ip_tagging": "envoy.filters.http.ip_tagging",
    "envoy.listener.http_inspector": "envoy.filters.listener.http_inspector",
    "envoy.listener.original_dst": "envoy.filters.listener.original_dst",
    "envoy.listener.original_src": "envoy.filters.listener.original_src",
    "envoy.listener.proxy_protocol": "envoy.filters.listener.proxy_protocol",
    "envoy.listener.tls_inspector": "envoy.filters.listener.tls_inspector",
    "envoy.lua": "envoy.filters.http.lua",
    "envoy.mongo_proxy": "envoy.filters.network.mongo_proxy",
    "envoy.rate_limit": "envoy.filters.http.ratelimit",
    "envoy.ratelimit": "envoy.filters.network.ratelimit",
    "envoy.redis_proxy": "envoy.filters.network.redis_proxy",
    "envoy.router": "envoy.filters.http.router",
    "envoy.squash": "envoy.filters.http.squash",
    "envoy.tcp_proxy": "envoy.filters.network.tcp_proxy",
}
"""Names of filters that Envoy no longer uses, and those that it does. Source: Envoy's history of version 1.14."""

_FILTERS = frozenset({ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER, ApplyTo.LISTENER_FILTER})


def problems(spec: EnvoyFilter) -> Findings:
    """Check the patches; what is missing altogether is found by ``apis.validation``."""
    report = Report()
    for index, each in enumerate(spec.config_patches):
        path = f"spec.configPatches[{index}]"
        _check_names(report, f"{path}.match.listener", each)
        if reason := idle_reason(each):
            report.warn(path, f"changes nothing: {reason}")
        patch = each.patch
        if each.apply_to is ApplyTo.INVALID or patch is None or patch.value is None:
            continue
        try:
            decoded = decode(each.apply_to, patch.value)
        except ValueError as error:
            report.error(f"{path}.patch.value", f"is no message of Envoy for applyTo {each.apply_to}: {error}")
            continue
        if decoded.unknown:
            report.warn(f"{path}.patch.value", f"has what is passed over: {decoded.unknown}")
        _check_fields(report, f"{path}.patch.value", decoded.message)
        untyped = each.apply_to in _FILTERS and patch.operation is not PatchOperation.MERGE
        if untyped and not _has_configuration(decoded.message):
            report.warn(f"{path}.patch.value", "has no typed_config, and a filter is no longer found by its name alone")
    return report.findings


def _check_names(report: Report, path: str, each: EnvoyConfigObjectPatch) -> None:
    listener = each.match.listener if each.match is not None else None
    if listener is None:
        return
    chain = listener.filter_chain
    named = chain.filter if chain is not None else None
    names = {
        f"{path}.listenerFilter": listener.listener_filter,
        f"{path}.filterChain.filter.name": named.name if named is not None else "",
        f"{path}.filterChain.filter.subFilter.name": named.sub_filter.name if named and named.sub_filter else "",
    }
    for where, name in names.items():
        if name in RENAMED:
            report.warn(where, f"is the old name of {RENAMED[name]}")


def _check_fields(report: Report, path: str, message: Message) -> None:
    """Warn of each type and field in a message that Envoy will drop."""
    for name in sorted(set(_deprecated(message))):
        report.warn(path, f"uses {name}, which Envoy has deprecated")


def _deprecated(message: Message) -> Iterator[str]:
    waiting: list[Message] = [message]
    while waiting:
        each = waiting.pop()
        if isinstance(each, AnyMessage):
            if (inner := _unpacked(each)) is not None:
                waiting.append(inner)
            continue
        if each.DESCRIPTOR.GetOptions().deprecated:
            yield each.DESCRIPTOR.full_name
        for field, value in each.ListFields():
            if field.GetOptions().deprecated:
                yield field.full_name
            waiting += _messages(field, value)


def _messages(field: FieldDescriptor, value: object) -> list[Message]:
    """Return the messages that a field holds."""
    if field.message_type is None:
        return []
    if field.message_type.GetOptions().map_entry:
        return [each for each in dict(value).values() if isinstance(each, Message)]  # type: ignore[call-overload]
    return list(value) if field.is_repeated else [value]  # type: ignore[call-overload,list-item]


def _unpacked(message: AnyMessage) -> Message | None:
    try:
        inner = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(type_name(message.type_url)))()
        inner.ParseFromString(message.value)
    except (KeyError, DecodeError):
        return None
    return inner


def _has_configuration(message: Message) -> bool:
    return any(field.name in {"typed_config", "config_discovery"} for field, _ in message.ListFields())
