"""Rules of the mesh configuration: what Envoy would refuse it for, in every proxy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from controlplane.apis.common import MAX_PORT
from controlplane.apis.validation.connection_pool import check_keepalive
from controlplane.apis.validation.destination_rule import check_policy
from controlplane.apis.validation.formats import format_problem, header_format_problem, log_format_problem
from controlplane.apis.validation.http_route import check_retries
from controlplane.apis.validation.load_balancer import check_locality
from controlplane.apis.validation.primitives import check_line, check_size
from controlplane.apis.validation.report import Report, Subject
from controlplane.documents.json_reader import json_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from controlplane.apis.common import ApiModel
    from controlplane.apis.mesh import MeshConfig
    from controlplane.apis.mesh_providers import ExtensionProvider, HttpHeader
    from controlplane.apis.problems import Problem

_PORTS = ("proxy_listen_port", "proxy_inbound_listen_port", "proxy_http_port")
_OWN_PORTS = {15000: "administration", 15020: "the agent", 15021: "health", 15090: "metrics"}
_WITH_VALUES, _WITHOUT_VALUES = ("In", "NotIn"), ("Exists", "DoesNotExist")
_LONGEST_CONNECT = timedelta(seconds=4_294_967)  # milliseconds in 32 bits

_MAX_PATH, _MAX_PART = 4095, 255


def problems(mesh: MeshConfig) -> list[Problem]:
    """Check a mesh configuration with its defaults filled in; return what is wrong, in no order."""
    report = Report()
    _check_ports(report, mesh)
    _check_times(report, mesh)
    _check_log(report, mesh)
    _check_files(report, mesh)
    _check_policies(report, mesh)
    _check_selectors(report, mesh)
    for index, provider in enumerate(mesh.extension_providers):
        _check_provider(report, f"extensionProviders[{index}]", provider)
    return report.errors


def doubts(mesh: MeshConfig) -> list[Problem]:
    """Return what may be wrong with a mesh configuration that holds: files of logs that Envoy may not find."""
    report = Report()
    for path, file in _log_files(mesh):
        if not file.startswith("/"):
            report.warn(path, f"{file!r} is no absolute path: an Envoy that cannot open it takes no listener at all")
    return report.warnings


def _log_files(mesh: MeshConfig) -> Iterator[tuple[str, str]]:
    """Yield the files that Envoy opens, with the paths of the fields that name them."""
    if mesh.access_log_file:
        yield "accessLogFile", mesh.access_log_file
    for index, provider in enumerate(mesh.extension_providers):
        if provider.envoy_file_access_log is not None:
            yield f"extensionProviders[{index}].envoyFileAccessLog.path", provider.envoy_file_access_log.path


def _check_files(report: Report, mesh: MeshConfig) -> None:
    """Refuse what no Linux opens as a file: Envoy would refuse every listener for it."""
    for path, file in _log_files(mesh):
        parts = file.split("/")
        if len(file.encode()) > _MAX_PATH or any(len(part.encode()) > _MAX_PART for part in parts):
            report.error(path, f"must have at most {_MAX_PATH} bytes, and {_MAX_PART} between slashes")
        elif "\0" in file:
            report.error(path, "must not have NUL characters")
        elif file and parts[-1] in {"", ".", ".."}:
            report.error(path, f"{file!r} is a directory")


def _name(model: ApiModel, field: str) -> str:
    return type(model).model_fields[field].alias or field


def _check_ports(report: Report, mesh: MeshConfig) -> None:
    taken: dict[int, str] = dict(_OWN_PORTS)
    for field in _PORTS:
        path, port = _name(mesh, field), getattr(mesh, field)
        if not 0 <= port <= MAX_PORT:
            report.error(path, f"port {port} must be in the range 0-{MAX_PORT}")
        elif port in taken and port:
            report.error(path, f"port {port} is taken by {taken[port]}")
        taken[port] = path


def _check_times(report: Report, mesh: MeshConfig) -> None:
    if not timedelta(milliseconds=1) <= mesh.connect_timeout <= _LONGEST_CONNECT:
        report.error("connectTimeout", "must be at least 1ms, and fit into 32 bits of milliseconds")
    if mesh.tcp_keepalive is not None:
        check_keepalive(report, "tcpKeepalive", mesh.tcp_keepalive)
    if mesh.dns_refresh_rate <= timedelta(milliseconds=1):
        report.error("dnsRefreshRate", "must be more than 1ms")


def _check_policies(report: Report, mesh: MeshConfig) -> None:
    """What the mesh states for all is right where it would be right in an object."""
    if mesh.default_traffic_policy is not None:
        check_policy(report, "defaultTrafficPolicy", mesh.default_traffic_policy, Subject(mesh.root_namespace, ""))
    if mesh.locality_lb_setting is not None:
        check_locality(report, "localityLbSetting", mesh.locality_lb_setting, has_outlier_detection=True)
    for field in ("default_http_retry_policy", "default_inbound_http_retry_policy"):
        retries = getattr(mesh, field)
        if retries is not None:
            check_retries(report, _name(mesh, field), retries)


def _check_selectors(report: Report, mesh: MeshConfig) -> None:
    """Selectors of namespaces are such as Kubernetes takes: one that is not would select none, and empty the mesh."""
    for index, selector in enumerate(mesh.discovery_selectors):
        for position, each in enumerate(selector.match_expressions):
            where = f"discoverySelectors[{index}].matchExpressions[{position}]"
            if each.operator not in {*_WITH_VALUES, *_WITHOUT_VALUES}:
                report.error(f"{where}.operator", f"{each.operator!r} is none of In, NotIn, Exists, DoesNotExist")
            elif bool(each.values) != (each.operator in _WITH_VALUES):
                needed = "are required" if each.operator in _WITH_VALUES else "cannot be set"
                report.error(f"{where}.values", f"{needed} with {each.operator}")


def _check_log(report: Report, mesh: MeshConfig) -> None:
    if mesh.access_log_encoding == "JSON":
        try:
            stated = json_value(mesh.access_log_format) if mesh.access_log_format else {}
        except ValueError:
            stated = {}
        _check_fields(report, "accessLogFormat", stated)
    elif problem := log_format_problem(mesh.access_log_format):
        report.error("accessLogFormat", problem)


def _check_fields(
    report: Report,
    path: str,
    value: Any,  # noqa: ANN401 - JSON
    check: Callable[[str], str] = log_format_problem,
) -> None:
    """Check each text in the fields of an entry."""
    match value:
        case dict():
            for name, each in value.items():
                _check_fields(report, f"{path}.{name}", each, check)
        case list():
            for index, each in enumerate(value):
                _check_fields(report, f"{path}[{index}]", each, check)
        case str() if problem := check(value):
            report.error(path, problem)


def _check_provider(report: Report, path: str, provider: ExtensionProvider) -> None:
    for where, name, value in _headers(provider):
        _check_header(report, f"{path}.{where}", name, value)
    for kind in ("envoy_ext_authz_http", "envoy_ext_authz_grpc"):
        authoriser = getattr(provider, kind)
        body = authoriser.include_request_body_in_check if authoriser is not None else None
        if body is not None and not body.max_request_bytes:
            where = f"{path}.{_name(provider, kind)}.includeRequestBodyInCheck.maxRequestBytes"
            report.error(where, "must be more than 0")
    file = provider.envoy_file_access_log
    if file is not None and file.log_format is not None:
        where = f"{path}.envoyFileAccessLog.logFormat"
        if file.log_format.text and (problem := log_format_problem(file.log_format.text)):
            report.error(f"{where}.text", problem)
        _check_fields(report, f"{where}.labels", file.log_format.labels or {})
    collector = provider.envoy_otel_als
    if collector is not None and collector.log_format is not None:
        where = f"{path}.envoyOtelAls.logFormat"
        if problem := format_problem(collector.log_format.text):
            report.error(f"{where}.text", problem)
        _check_fields(report, f"{where}.labels", collector.log_format.labels or {}, format_problem)


def _headers(provider: ExtensionProvider) -> Iterator[tuple[str, str, str]]:
    """Yield the headers that a provider is sent: path, name and value, which is empty where it is not stated."""
    stated: list[tuple[str, tuple[HttpHeader, ...]]] = []
    if provider.zipkin is not None:
        stated.append(("zipkin.headers", provider.zipkin.headers))
    if (spans := provider.opentelemetry) is not None:
        sampler = spans.dynatrace_sampler
        asked = sampler.http_service.http if sampler is not None and sampler.http_service is not None else None
        if spans.http is not None:
            stated.append(("opentelemetry.http.headers", spans.http.headers))
        if spans.grpc is not None:
            stated.append(("opentelemetry.grpc.initialMetadata", spans.grpc.initial_metadata))
        if asked is not None:
            stated.append(("opentelemetry.dynatraceSampler.httpService.http.headers", asked.headers))
    for where, headers in stated:
        for index, header in enumerate(headers):
            yield f"{where}[{index}]", header.name, header.value or ""
    if (authoriser := provider.envoy_ext_authz_http) is not None:
        for name, value in authoriser.include_additional_headers_in_check.items():
            yield "envoyExtAuthzHttp.includeAdditionalHeadersInCheck", name, value


def _check_header(report: Report, path: str, name: str, value: str) -> None:
    """Refuse of a header what Envoy refuses: it takes more than HTTP does."""
    if not name:
        report.error(path, "header name must not be empty")
    elif ".headers[" in path and (name.startswith(":") or name.lower() == "host"):
        report.error(path, f"{name!r} cannot be set here")
    for text in (name, value):
        check_line(report, path, text)
        check_size(report, path, text)
    if problem := header_format_problem(value):
        report.error(path, problem)
