"""Rules of one HTTP route of a VirtualService."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from controlplane.apis.claims import claim_path
from controlplane.apis.common import MAX_UINT32
from controlplane.apis.validation import primitives
from controlplane.apis.validation.regex import check_regex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controlplane.apis.common import Percent
    from controlplane.apis.validation.report import Report
    from controlplane.apis.virtual_service import (
        Abort,
        CorsPolicy,
        Destination,
        Headers,
        HTTPDirectResponse,
        HTTPFaultInjection,
        HTTPMatchRequest,
        HTTPRedirect,
        HTTPRetry,
        HTTPRewrite,
        HTTPRoute,
    )

MAX_BODY = 1024 * 1024
LARGE_BODY = 100 * 1024
_MIN_PERCENT = 0.0001
_RETRY_ON = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
) | {str(int(status)) for status in HTTPStatus}
_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"])
_GRPC_STATUSES = frozenset(
    [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    ]
)


def check_http_route(report: Report, path: str, route: HTTPRoute, *, is_delegate: bool, at_gateway: bool) -> None:
    """Check one route; a delegate's routes may not delegate further."""
    report.spend()
    _check_actions(report, path, route, is_delegate=is_delegate)
    for index, match in enumerate(route.match):
        _check_match(report, f"{path}.match[{index}]", match, at_gateway=at_gateway)
    for index, choice in enumerate(route.route):
        where = f"{path}.route[{index}]"
        check_destination(report, f"{where}.destination", choice.destination)
        _check_headers(report, f"{where}.headers", choice.headers)
    check_weights(report, f"{path}.route", [choice.weight for choice in route.route])
    _check_mirrors(report, path, route)
    _check_headers(report, f"{path}.headers", route.headers)
    _check_authority(report, path, route)
    if route.redirect is not None:
        _check_redirect(report, f"{path}.redirect", route.redirect, route.match)
    if route.direct_response is not None:
        _check_direct_response(report, f"{path}.directResponse", route.direct_response)
    if route.rewrite is not None:
        _check_rewrite(report, f"{path}.rewrite", route.rewrite)
    if route.retries is not None:
        check_retries(report, f"{path}.retries", route.retries)
    if route.fault is not None:
        _check_fault(report, f"{path}.fault", route.fault)
    if route.cors_policy is not None:
        _check_cors(report, f"{path}.corsPolicy", route.cors_policy)


def check_destination(report: Report, path: str, destination: Destination) -> None:
    """A host (no bare ``*``), perhaps a subset and a port."""
    host = destination.host
    if host == "*" or not primitives.is_wildcard_domain(host):
        report.error(f"{path}.host", f"{host!r} is not a host name")
    if destination.subset and not primitives.is_dns_label(destination.subset):
        report.error(f"{path}.subset", f"{destination.subset!r} is not a subset name")
    if destination.port is not None:
        primitives.check_port(report, f"{path}.port.number", destination.port.number)


def check_weights(report: Report, path: str, weights: Sequence[int]) -> None:
    """None negative; several need a positive sum, which need not be 100."""
    for index, weight in enumerate(weights):
        if weight < 0:
            report.error(f"{path}[{index}].weight", f"{weight} must not be negative")
    if len(weights) > 1 and sum(weights) == 0:
        report.error(path, "the sum of weights must not be 0")
    if sum(weights) > MAX_UINT32:
        report.error(path, f"the sum of weights is {sum(weights)}, and must be at most {MAX_UINT32}")


def _check_actions(report: Report, path: str, route: HTTPRoute, *, is_delegate: bool) -> None:
    """A route does one thing."""
    if route.delegate is not None:
        if is_delegate:
            report.error(f"{path}.delegate", "a delegate cannot delegate")
        for name, given in (("redirect", route.redirect is not None), ("route", bool(route.route))):
            if given:
                report.error(f"{path}.{name}", "cannot be set together with delegate")
    others = {
        "route": bool(route.route),
        "fault": route.fault is not None,
        "rewrite": route.rewrite is not None,
        "directResponse": route.direct_response is not None,
    }
    if route.redirect is not None:
        _refuse(report, path, [name for name, given in others.items() if given], "redirect")
    if route.direct_response is not None:
        del others["directResponse"]
        _refuse(report, path, [name for name, given in others.items() if given], "directResponse")
    if not (route.route or route.redirect or route.direct_response or route.delegate):
        report.error(path, "route, redirect or directResponse is required")


def _refuse(report: Report, path: str, names: Sequence[str], action: str) -> None:
    for name in names:
        report.error(f"{path}.{name}", f"cannot be set together with {action}")


def _check_match(report: Report, path: str, match: HTTPMatchRequest, *, at_gateway: bool) -> None:
    if match.uri is not None:
        primitives.check_string_match(report, f"{path}.uri", match.uri, empty_prefix=True)
    for name, text in (("scheme", match.scheme), ("method", match.method), ("authority", match.authority)):
        if text is not None:
            primitives.check_string_match(report, f"{path}.{name}", text)
    for name, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for header, value in headers.items():
            where = f"{path}.{name}.{header}"
            primitives.check_header_match_name(report, where, header)
            if claim_path(header) and not at_gateway:
                report.error(where, "claims of tokens can be matched at gateways only")
            if not (name == "withoutHeaders" and value.regex == "*"):
                primitives.check_string_match(report, where, value)
    for parameter, value in match.query_params.items():
        primitives.check_string_match(report, f"{path}.queryParams.{parameter}", value)
    if match.port:  # in protobuf an explicit 0 says nothing
        primitives.check_port(report, f"{path}.port", match.port)
    primitives.check_labels(report, f"{path}.sourceLabels", match.source_labels)
    primitives.check_gateway_names(report, f"{path}.gateways", match.gateways)
    if match.source_namespace and not primitives.is_dns_label(match.source_namespace):
        report.error(f"{path}.sourceNamespace", f"{match.source_namespace!r} is not a namespace")


def _check_mirrors(report: Report, path: str, route: HTTPRoute) -> None:
    if route.mirror is not None:
        check_destination(report, f"{path}.mirror", route.mirror)
        if route.mirrors:
            report.error(f"{path}.mirrors", "cannot be set together with mirror")
    for index, mirror in enumerate(route.mirrors):
        check_destination(report, f"{path}.mirrors[{index}].destination", mirror.destination)
        _check_share(report, f"{path}.mirrors[{index}].percentage", mirror.percentage)
    _check_share(report, f"{path}.mirrorPercentage", route.mirror_percentage)
    if route.mirror_percent is not None:
        report.warn(f"{path}.mirrorPercent", "is deprecated, use mirrorPercentage")
        _check_percent(report, f"{path}.mirrorPercent", route.mirror_percent)


def _check_share(report: Report, path: str, share: Percent | None) -> None:
    if share is not None and not 0 <= share.value <= 100:  # noqa: PLR2004 - percent
        report.error(f"{path}.value", f"{share.value} must be in the range 0-100")


def _check_percent(report: Report, path: str, percent: int) -> None:
    if not 0 <= percent <= 100:  # noqa: PLR2004 - percent
        report.error(path, f"{percent} must be in the range 0-100")


def _check_headers(report: Report, path: str, headers: Headers | None) -> None:
    if headers is None:
        return
    for side, operations in (("request", headers.request), ("response", headers.response)):
        if operations is None:
            continue
        for name, values in (("set", operations.set), ("add", operations.add)):
            for header, value in values.items():
                where = f"{path}.{side}.{name}.{header}"
                primitives.check_header_name(report, where, header, authority=side == "request")
                primitives.check_header_value(report, where, value)
        for index, header in enumerate(operations.remove):
            primitives.check_header_name(report, f"{path}.{side}.remove[{index}]", header, authority=False)


def _check_authority(report: Report, path: str, route: HTTPRoute) -> None:
    """The authority is set in one place only."""
    request = route.headers.request if route.headers is not None else None
    named = [] if request is None else [*request.set, *request.add]
    count = sum(name.lower() in {":authority", "host"} for name in named)
    if count + bool(route.rewrite is not None and route.rewrite.authority) > 1:
        report.error(path, "the authority can be set in one place only (rewrite or headers)")


def _check_redirect(report: Report, path: str, redirect: HTTPRedirect, matches: Sequence[HTTPMatchRequest]) -> None:
    primitives.check_line(report, f"{path}.uri", redirect.uri)
    primitives.check_line(report, f"{path}.authority", redirect.authority)
    primitives.check_line(report, f"{path}.prefixRewrite", redirect.prefix_rewrite)
    if redirect.uri and redirect.prefix_rewrite:
        report.error(path, "uri and prefixRewrite cannot be set together")
    if redirect.prefix_rewrite and any(match.uri is not None and match.uri.prefix is None for match in matches):
        report.error(f"{path}.prefixRewrite", "needs uri matches by prefix")
    given = (redirect.uri, redirect.prefix_rewrite, redirect.authority, redirect.scheme)
    if not any(given) and redirect.port is None and redirect.derive_port is None:
        report.error(path, "must say what to change")
    if redirect.redirect_code and not 300 <= redirect.redirect_code <= 399:  # noqa: PLR2004 - HTTP's range
        report.error(f"{path}.redirectCode", f"{redirect.redirect_code} must be in the range 300-399")
    if redirect.scheme not in {"", "http", "https"}:
        report.error(f"{path}.scheme", "must be http or https")
    if redirect.port is not None:
        primitives.check_port(report, f"{path}.port", redirect.port)


def _check_direct_response(report: Report, path: str, response: HTTPDirectResponse) -> None:
    if not 200 <= response.status < 600:  # noqa: PLR2004 - Envoy's range
        report.error(f"{path}.status", f"{response.status} must be in the range 200-599")
    if response.body is not None:
        size = len((response.body.string or "").encode()) or len(response.body.bytes or b"")
        if size > MAX_BODY:
            report.error(f"{path}.body", f"must be at most {MAX_BODY} bytes")
        elif size > LARGE_BODY:
            report.warn(f"{path}.body", f"{size} bytes are much for configuration")


def _check_rewrite(report: Report, path: str, rewrite: HTTPRewrite) -> None:
    regex = rewrite.uri_regex_rewrite
    primitives.check_line(report, f"{path}.uri", rewrite.uri)
    primitives.check_line(report, f"{path}.authority", rewrite.authority)
    if rewrite.uri and regex is not None:
        report.error(path, "uri and uriRegexRewrite cannot be set together")
    if not rewrite.uri and not rewrite.authority and regex is None:
        report.error(path, "uri, uriRegexRewrite or authority is required")
    if regex is not None:
        if not regex.rewrite:
            report.error(f"{path}.uriRegexRewrite.rewrite", "must not be empty")
        primitives.check_line(report, f"{path}.uriRegexRewrite.rewrite", regex.rewrite)
        check_regex(report, f"{path}.uriRegexRewrite.match", regex.match)


def check_retries(report: Report, path: str, retries: HTTPRetry) -> None:
    """Check when and how often requests are repeated; the mesh's own settings too."""
    if retries.attempts < 0:
        report.error(f"{path}.attempts", "must not be negative")
    if retries.attempts == 0 and (
        retries.per_try_timeout is not None or retries.retry_on or retries.retry_remote_localities is not None
    ):
        report.error(path, "perTryTimeout, retryOn and retryRemoteLocalities need attempts above 0")
    if retries.retry_on:
        unknown = [token for token in retries.retry_on.split(",") if token not in _RETRY_ON]
        if unknown:
            report.error(f"{path}.retryOn", f"unknown: {', '.join(map(repr, unknown))}")


def _check_fault(report: Report, path: str, fault: HTTPFaultInjection) -> None:
    if fault.delay is None and fault.abort is None:
        report.error(path, "delay or abort is required")
    for name, part in (("delay", fault.delay), ("abort", fault.abort)):
        share = part.percentage if part is not None else None
        if share is not None and share.value != 0 and not _MIN_PERCENT <= share.value <= 100:  # noqa: PLR2004 - percent
            report.error(f"{path}.{name}.percentage.value", f"{share.value} must be 0 or in the range 0.0001-100")
    if fault.delay is not None:
        _check_percent(report, f"{path}.delay.percent", fault.delay.percent)
        if fault.delay.exponential_delay is not None:
            report.error(f"{path}.delay.exponentialDelay", "is not supported")
        elif fault.delay.fixed_delay is None:
            report.warn(f"{path}.delay", "names no delay and does nothing")
    if fault.abort is not None:
        _check_abort(report, f"{path}.abort", fault.abort)


def _check_abort(report: Report, where: str, abort: Abort) -> None:
    if abort.http2_error is not None:
        report.error(f"{where}.http2Error", "is not supported")
    elif abort.http_status is not None:
        if not 200 <= abort.http_status < 600:  # noqa: PLR2004 - Envoy's range
            report.error(f"{where}.httpStatus", f"{abort.http_status} must be in the range 200-599")
    elif abort.grpc_status is not None:
        if abort.grpc_status not in _GRPC_STATUSES:
            report.error(f"{where}.grpcStatus", f"{abort.grpc_status!r} is not a gRPC status")
    else:
        report.warn(where, "names no status and does nothing")


def _check_cors(report: Report, path: str, cors: CorsPolicy) -> None:
    for index, origin in enumerate(cors.allow_origins):
        where = f"{path}.allowOrigins[{index}]"
        if origin.is_presence or origin.exact == "":
            report.error(where, "must say what to match")
        primitives.check_string_match(report, where, origin)
    for index, method in enumerate(cors.allow_methods):
        if method not in _METHODS:
            report.error(f"{path}.allowMethods[{index}]", f"{method!r} is not a method")
    for name, headers in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, header in enumerate(headers):
            if header != "*":
                primitives.check_header_name(report, f"{path}.{name}[{index}]", header, authority=False)
    if cors.max_age is not None and cors.max_age.microseconds:
        report.error(f"{path}.maxAge", "must be whole seconds")
