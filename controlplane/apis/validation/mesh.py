"""Rules of the mesh configuration: what Envoy would refuse it for, in every proxy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from controlplane.apis.common import MAX_PORT
from controlplane.apis.validation.connection_pool import check_keepalive
from controlplane.apis.validation.destination_rule import check_policy
from controlplane.apis.validation.formats import format_problem, log_format_problem
from controlplane.apis.validation.http_route import check_retries
from controlplane.apis.validation.load_balancer import check_locality
from controlplane.apis.validation.report import Report, Subject
from controlplane.documents.json_reader import json_value

if TYPE_CHECKING:
    from controlplane.apis.common import ApiModel
    from controlplane.apis.mesh import MeshConfig
    from controlplane.apis.mesh_providers import ExtensionProvider
    from controlplane.apis.problems import Problem

_PORTS = ("proxy_listen_port", "proxy_inbound_listen_port", "proxy_http_port")
_OWN_PORTS = {15000: "administration", 15020: "the agent", 15021: "health", 15090: "metrics"}
_WITH_VALUES, _WITHOUT_VALUES = ("In", "NotIn"), ("Exists", "DoesNotExist")
_LONGEST_CONNECT = timedelta(seconds=4_294_967)  # milliseconds in 32 bits


def problems(mesh: MeshConfig) -> list[Problem]:
    """Check a mesh configuration with its defaults filled in; return what is wrong, in no order."""
    report = Report()
    _check_ports(report, mesh)
    _check_times(report, mesh)
    _check_log(report, mesh)
    _check_policies(report, mesh)
    _check_selectors(report, mesh)
    for index, provider in enumerate(mesh.extension_providers):
        _check_provider(report, f"extensionProviders[{index}]", provider)
    return report.errors


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


def _check_fields(report: Report, path: str, value: Any) -> None:  # noqa: ANN401 - JSON
    """Check each text in the fields of an entry."""
    match value:
        case dict():
            for name, each in value.items():
                _check_fields(report, f"{path}.{name}", each)
        case list():
            for index, each in enumerate(value):
                _check_fields(report, f"{path}[{index}]", each)
        case str() if problem := log_format_problem(value):
            report.error(path, problem)


def _check_provider(report: Report, path: str, provider: ExtensionProvider) -> None:
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
        _check_fields(report, f"{where}.labels", collector.log_format.labels or {})
