"""Rules of Gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.tls import ServerTLSMode
from controlplane.apis.validation import primitives
from controlplane.apis.validation.protocols import is_http, is_protocol, is_tls
from controlplane.apis.validation.report import Findings, Report, Subject
from controlplane.apis.validation.server_tls import check_server_tls
from controlplane.documents.words import is_ip

if TYPE_CHECKING:
    from controlplane.apis.gateway import Gateway, Server

UNIX = "unix://"


def problems(spec: Gateway, subject: Subject) -> Findings:
    """Check a Gateway."""
    report = Report()
    if not primitives.is_dns_label(subject.name):
        report.error("metadata.name", f"{subject.name!r}: a Gateway's name must be a DNS label (no dots)")
    if not spec.servers:
        report.error("spec.servers", "at least one is required")
    names: set[str] = set()
    for index, server in enumerate(spec.servers):
        path = f"spec.servers[{index}]"
        _check_server(report, path, server)
        if server.port.name in names:
            report.error(f"{path}.port.name", f"{server.port.name!r} is a duplicate")
        names.add(server.port.name)
    return report.findings


def _check_server(report: Report, path: str, server: Server) -> None:
    if not server.hosts:
        report.error(f"{path}.hosts", "at least one is required")
    for index, host in enumerate(server.hosts):
        _check_host(report, f"{path}.hosts[{index}]", host)
    _check_port_and_bind(report, path, server)
    _check_tls(report, path, server)


def _check_host(report: Report, path: str, host: str) -> None:
    namespace, slash, name = host.rpartition("/")
    if slash and namespace not in {"*", "."} and not primitives.is_dns_label(namespace):
        report.error(path, f"{namespace!r} is not a namespace")
    if name == "*":
        return
    if "." not in name:
        report.error(path, f"{name!r}: short names are not allowed")
    elif primitives.is_partial_wildcard(name) or not (primitives.is_wildcard_domain(name) or is_ip(name)):
        report.error(path, f"{name!r} is not a host name or wildcard")


def _check_port_and_bind(report: Report, path: str, server: Server) -> None:
    port, bind = server.port, server.bind
    if not is_protocol(port.protocol):
        report.error(f"{path}.port.protocol", f"{port.protocol!r} is not a protocol")
    if not port.name:
        report.error(f"{path}.port.name", "must not be empty")
    if port.target_port:
        report.error(f"{path}.port.targetPort", "cannot be used in a Gateway")
    if bind.startswith(UNIX):
        socket = bind.removeprefix(UNIX)
        if not socket.startswith("@") and (not socket.startswith("/") or socket.endswith("/")):
            report.error(f"{path}.bind", "must be an absolute path of a socket, or an abstract one (@)")
        if port.number:
            report.error(f"{path}.port.number", "must be 0 with a unix domain socket")
        return
    primitives.check_port(report, f"{path}.port.number", port.number)
    if bind and not is_ip(bind):
        report.error(f"{path}.bind", f"{bind!r} is not an IP address")


def _check_tls(report: Report, path: str, server: Server) -> None:
    tls, protocol = server.tls, server.port.protocol
    if tls is None:
        if is_tls(protocol):
            report.error(f"{path}.tls", f"is required with {protocol}")
        return
    where = f"{path}.tls"
    if is_tls(protocol):
        if tls.https_redirect:
            report.warn(f"{where}.httpsRedirect", f"has no effect with {protocol}")
        check_server_tls(report, where, tls)
    elif is_http(protocol):
        material = tls.server_certificate or tls.private_key or tls.ca_certificates
        if material or tls.mode not in {ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH}:
            report.error(where, f"{protocol} is plaintext: only httpsRedirect can be set")
    else:
        report.error(where, f"cannot be set with {protocol}")
