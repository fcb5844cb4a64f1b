"""What Envoy checks of single fields, wherever they stand, and no rule of its protos states.

A field is found by its full name, or by what its name ends with: headers are removed in many messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import re2
from envoy.annotations import deprecation_pb2
from google.protobuf.descriptor import FieldDescriptor

from controlplane.apis.validation.formats import format_problem, log_format_problem
from controlplane.constraints.rules import HEADER_TEXTS, NAME, Test
from controlplane.documents.words import is_portable_ip

_API_VERSION = "envoy.config.core.v3.ApiVersion"
_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTE = "envoy.config.route.v3"
_PLAIN_NAME = re2.compile(HEADER_TEXTS[NAME, False])
_HEXADECIMAL = re2.compile(r"([0-9a-fA-F]{2})*")


def own_tests(field: FieldDescriptor) -> tuple[Test, ...]:
    """Return what is to be tested of a field beside its proto's rules."""
    if (known := _BY_FULL_NAME.get(field.full_name)) is not None:
        return (known,)
    if field.enum_type is not None and not field.is_repeated and (taken_away := _no_longer_taken(field)):
        return (Test(lambda value: value not in taken_away, "is a value that Envoy takes no more, or not given"),)
    if not field.is_repeated:
        return ()
    if field.name.endswith("_headers_to_remove"):
        return (Test(_may_be_removed, "names a header that cannot be removed: host, or one that begins with a colon"),)
    return ()


def _no_longer_taken(field: FieldDescriptor) -> frozenset[int]:
    values = field.enum_type.values if field.enum_type is not None else ()
    return frozenset(
        each.number
        for each in values
        if each.GetOptions().Extensions[deprecation_pb2.disallowed_by_default_enum]
        or (field.enum_type is not None and field.enum_type.full_name == _API_VERSION and each.name == "V2")
    )


def is_fixed(name: str) -> bool:
    """Whether a header is one that Envoy lets nobody change by its name alone."""
    return name.startswith(":") or name.lower() == "host"


def _may_be_removed(names: Any) -> bool:  # noqa: ANN401 - a repeated field
    return not any(map(is_fixed, names))


def _format(problem: Callable[[str], str]) -> Test:
    return Test(lambda text: not problem(text), "has a command that Envoy does not know, or a percent sign by itself")


def _formats(problem: Callable[[str], str]) -> Test:
    def is_right(struct: Any) -> bool:  # noqa: ANN401 - google.protobuf.Struct
        return all(map(_is_format, struct.fields.values()))

    def _is_format(value: Any) -> bool:  # noqa: ANN401 - google.protobuf.Value
        match value.WhichOneof("kind"):
            case "string_value":
                return not problem(value.string_value)
            case "struct_value":
                return is_right(value.struct_value)
            case "list_value":
                return all(map(_is_format, value.list_value.values))
            case _:
                return True

    return Test(is_right, "has a command that Envoy does not know, or a percent sign by itself")


def _are_addresses(resolvers: Any) -> bool:  # noqa: ANN401 - a repeated field of envoy.config.core.v3.Address
    return all(
        each.WhichOneof("address") == "socket_address" and is_portable_ip(each.socket_address.address)
        for each in resolvers
    )


def _extension_of(category: str, *others: str) -> Test:
    """Return the test of an extension: Envoy has those of a category apart. A struct may hold one of any type.

    ``others`` are where extensions of further categories stand that are taken there, too.
    """

    def is_right(held: Any) -> bool:  # noqa: ANN401 - envoy.config.core.v3.TypedExtensionConfig
        kind = held.typed_config.type_url.rpartition("/")[2]
        return not kind.startswith("envoy.") or kind.startswith((category, *others))

    return Test(is_right, f"must be one of {category.removesuffix('.')}")


_HTTP_FILTERS = "envoy.extensions.filters.http"
_INPUTS = ("envoy.type.matcher.", "envoy.extensions.matching.")  # what a matcher may look at, a descriptor may hold
_RESOLVERS = Test(_are_addresses, "must be IP addresses with ports")

_BY_FULL_NAME: Mapping[str, Test] = {
    f"{_LOG}.format": _format(log_format_problem),
    f"{_LOG}.json_format": _formats(log_format_problem),
    f"{_LOG}.typed_json_format": _formats(log_format_problem),
    f"{_MANAGER}.Tracing.operation": _format(format_problem),
    f"{_MANAGER}.Tracing.upstream_operation": _format(format_problem),
    f"{_ROUTE}.Tracing.operation": _format(format_problem),
    f"{_ROUTE}.Tracing.upstream_operation": _format(format_problem),
    f"{_ROUTE}.RouteAction.host_rewrite": _format(format_problem),
    f"{_ROUTE}.RouteAction.path_rewrite": _format(format_problem),
    f"{_ROUTE}.RouteConfiguration.vhost_header": Test(
        lambda text: _PLAIN_NAME.fullmatch(text) is not None, "must not have control characters"
    ),
    f"{_ROUTE}.InternalRedirectPolicy.response_headers_to_copy": Test(
        _may_be_removed, "names a header that cannot be copied: host, or one that begins with a colon"
    ),
    "envoy.config.core.v3.HealthCheck.Payload.text": Test(
        lambda text: _HEXADECIMAL.fullmatch(text) is not None, "must be bytes in hexadecimal digits"
    ),
    "envoy.type.matcher.v3.StringMatcher.custom": _extension_of("envoy.extensions.string_matcher."),
    f"{_ROUTE}.RateLimit.Action.extension": _extension_of("envoy.extensions.rate_limit_descriptors.", *_INPUTS),
    f"{_HTTP_FILTERS}.compressor.v3.Compressor.compressor_library": _extension_of("envoy.extensions.compression."),
    f"{_HTTP_FILTERS}.compressor.v3.CompressorOverrides.compressor_library": _extension_of(
        "envoy.extensions.compression."
    ),
    f"{_HTTP_FILTERS}.ext_proc.v3.ExternalProcessor.processing_request_modifier": _extension_of(
        "envoy.extensions.http.ext_proc."
    ),
    f"{_HTTP_FILTERS}.ext_proc.v3.ExtProcOverrides.processing_request_modifier": _extension_of(
        "envoy.extensions.http.ext_proc."
    ),
    f"{_HTTP_FILTERS}.stateful_session.v3.StatefulSession.session_state": _extension_of(
        "envoy.extensions.http.stateful_session."
    ),
    "envoy.config.cluster.v3.Cluster.dns_resolvers": _RESOLVERS,
    "envoy.config.core.v3.DnsResolutionConfig.resolvers": _RESOLVERS,
    "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig.resolvers": _RESOLVERS,
    "envoy.extensions.filters.http.ext_authz.v3.HttpService.path_prefix": Test(
        lambda text: not text or text.startswith("/"), "must begin with a slash"
    ),
}
