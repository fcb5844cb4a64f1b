"""Rules of Sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.sidecar import CaptureMode, OutboundTrafficPolicyMode
from controlplane.apis.tls import ServerTLSMode
from controlplane.apis.validation import primitives
from controlplane.apis.validation.connection_pool import check_connection_pool
from controlplane.apis.validation.protocols import is_http, is_protocol, is_tls
from controlplane.apis.validation.report import Findings, Report, Subject
from controlplane.apis.validation.server_tls import check_server_tls
from controlplane.documents.words import is_ip

if TYPE_CHECKING:
    from controlplane.apis.sidecar import (
        IstioEgressListener,
        IstioIngressListener,
        OutboundTrafficPolicy,
        Sidecar,
        SidecarPort,
    )
    from controlplane.apis.tls import ServerTLSSettings

UNIX = "unix://"
_LOCAL = {"", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"}  # noqa: S104 - a pattern, nothing listens
_DIGITS = 5


def problems(spec: Sidecar, _subject: Subject) -> Findings:
    """Check a Sidecar."""
    report = Report()
    if not (spec.egress or spec.ingress or spec.outbound_traffic_policy or spec.inbound_connection_pool):
        report.error("spec", "egress, ingress, outboundTrafficPolicy or inboundConnectionPool is required")
    if spec.workload_selector is not None and not spec.workload_selector.labels:
        report.warn("spec.workloadSelector", "has no labels and selects every workload of the namespace")
    ports: set[int] = set()
    for index, ingress in enumerate(spec.ingress):
        path = f"spec.ingress[{index}]"
        if ingress.port.number in ports:
            report.error(f"{path}.port.number", f"{ingress.port.number} is a duplicate")
        ports.add(ingress.port.number)
        _check_ingress(report, path, ingress)
    _check_egress(report, spec)
    if spec.outbound_traffic_policy is not None:
        _check_outbound_policy(report, "spec.outboundTrafficPolicy", spec.outbound_traffic_policy)
    if spec.inbound_connection_pool is not None:
        check_connection_pool(report, "spec.inboundConnectionPool", spec.inbound_connection_pool)
    return report.findings


def _check_ingress(report: Report, path: str, listener: IstioIngressListener) -> None:
    port = listener.port
    primitives.check_port(report, f"{path}.port.number", port.number)
    _check_named_port(report, f"{path}.port", port)
    if listener.bind and not is_ip(listener.bind):
        report.error(f"{path}.bind", f"{listener.bind!r} is not an IP address")
    _check_default_endpoint(report, f"{path}.defaultEndpoint", listener.default_endpoint)
    if listener.tls is not None:
        _check_ingress_tls(report, f"{path}.tls", listener.tls, port.protocol)
    pool = listener.connection_pool
    if pool is not None:
        check_connection_pool(report, f"{path}.connectionPool", pool)
        if pool.http is not None and not is_http(port.protocol):
            report.warn(f"{path}.connectionPool.http", f"has no effect with {port.protocol}")


def _check_named_port(report: Report, path: str, port: SidecarPort) -> None:
    """Name and protocol may be left out: the protocol is detected then."""
    if port.target_port:
        report.error(f"{path}.targetPort", "cannot be used in a Sidecar")
    if port.protocol and not is_protocol(port.protocol):
        report.error(f"{path}.protocol", f"{port.protocol!r} is not a protocol")
    if port.name and not primitives.is_dns_label(port.name):
        report.error(f"{path}.name", f"{port.name!r} is not a DNS label")


def _check_default_endpoint(report: Report, path: str, endpoint: str) -> None:
    if not endpoint:
        return
    if endpoint.startswith(UNIX):
        socket = endpoint.removeprefix(UNIX)
        if not socket.startswith(("/", "@")) or socket.endswith("/"):
            report.error(path, f"{endpoint!r} is not the path of a socket")
        return
    host, colon, number = endpoint.rpartition(":")
    if not colon or host not in _LOCAL or not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
        report.error(path, f"{endpoint!r} must be 127.0.0.1, 0.0.0.0, [::1] or [::], a colon and a port, or unix://")
        return
    primitives.check_port(report, path, int(number))


def _check_ingress_tls(report: Report, path: str, tls: ServerTLSSettings, protocol: str) -> None:
    refused = {
        "subjectAltNames": tls.subject_alt_names,
        "httpsRedirect": tls.https_redirect,
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
        "tlsCertificates": tls.tls_certificates,
    }
    for name, given in refused.items():
        if given:
            report.error(f"{path}.{name}", "cannot be used in a Sidecar")
    if tls.mode in {ServerTLSMode.ISTIO_MUTUAL, ServerTLSMode.AUTO_PASSTHROUGH}:
        report.error(f"{path}.mode", f"{tls.mode} cannot be used in a Sidecar")
    if not is_tls(protocol):
        report.error(path, f"cannot be set with {protocol}")
    check_server_tls(report, path, tls)


def _check_egress(report: Report, spec: Sidecar) -> None:
    catch_all: int | None = None
    ports: set[int] = set()
    sockets: set[str] = set()
    for index, listener in enumerate(spec.egress):
        path = f"spec.egress[{index}]"
        if catch_all is not None:
            report.error(f"spec.egress[{catch_all}]", "a listener without port must be the last one")
        if listener.port is None:
            catch_all = index
        elif listener.bind.startswith(UNIX):
            if listener.bind in sockets:
                report.error(f"{path}.bind", f"{listener.bind!r} is a duplicate")
            sockets.add(listener.bind)
        else:
            if listener.port.number in ports:
                report.error(f"{path}.port.number", f"{listener.port.number} is a duplicate")
            ports.add(listener.port.number)
        _check_egress_listener(report, path, listener)


def _check_egress_listener(report: Report, path: str, listener: IstioEgressListener) -> None:
    port, bind = listener.port, listener.bind
    is_socket = bind.startswith(UNIX)
    if port is not None:
        _check_named_port(report, f"{path}.port", port)
        if is_socket:
            if port.number:
                report.error(f"{path}.port.number", "must be 0 with a unix domain socket")
            if listener.capture_mode is CaptureMode.IPTABLES:
                report.error(f"{path}.captureMode", "must be DEFAULT or NONE with a unix domain socket")
        else:
            primitives.check_port(report, f"{path}.port.number", port.number)
    if is_socket and port is None:
        report.error(f"{path}.port", "is required with a unix domain socket")
    elif bind and not is_socket and not is_ip(bind):
        report.error(f"{path}.bind", f"{bind!r} is neither an IP address nor a unix domain socket")
    if not listener.hosts:
        report.error(f"{path}.hosts", "at least one is required")
    seen: set[str] = set()
    for index, host in enumerate(listener.hosts):
        where = f"{path}.hosts[{index}]"
        _check_egress_host(report, where, host)
        if host in seen or f"{host.partition('/')[0]}/*" in seen:
            report.warn(where, f"{host!r} is a duplicate")
        seen.add(host)
    if "*/*" in seen and len(seen) > 1:
        report.warn(f"{path}.hosts", "'*/*' covers the others")


def _check_egress_host(report: Report, path: str, host: str) -> None:
    namespace, slash, name = host.partition("/")
    if not slash:
        report.error(path, f"{host!r} must be namespace/host")
        return
    named = namespace.removeprefix("~")
    if not (namespace == "~" or named in {"*", "."} or primitives.is_dns_label(named)):
        report.error(path, f"{namespace!r} is not a namespace")
    if not primitives.is_wildcard_domain(name):
        report.error(path, f"{name!r} is not a host name or wildcard")
    elif primitives.is_partial_wildcard(name):
        report.error(path, f"{name!r}: a wildcard stands for whole parts (*.example.com)")
    elif name != "*" and "." not in name:
        report.error(path, f"{name!r} must be a full host name")


def _check_outbound_policy(report: Report, path: str, policy: OutboundTrafficPolicy) -> None:
    proxy = policy.egress_proxy
    if proxy is None:
        return
    if policy.mode is not OutboundTrafficPolicyMode.ALLOW_ANY:
        report.error(f"{path}.egressProxy", "needs mode ALLOW_ANY")
    if not primitives.is_fqdn(proxy.host):
        report.error(f"{path}.egressProxy.host", f"{proxy.host!r} is not a host name")
    if proxy.port is None:
        report.error(f"{path}.egressProxy.port", "is required")
    else:
        primitives.check_port(report, f"{path}.egressProxy.port.number", proxy.port.number)
    if proxy.subset and not primitives.is_dns_label(proxy.subset):
        report.error(f"{path}.egressProxy.subset", f"{proxy.subset!r} is not a subset name")
