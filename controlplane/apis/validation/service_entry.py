"""Rules of ServiceEntry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.service_entry import Location, Resolution
from controlplane.apis.validation import primitives
from controlplane.apis.validation.protocols import TCP_PROTOCOLS, is_http, is_protocol, is_tls
from controlplane.apis.validation.report import Findings, Report, Subject
from controlplane.apis.validation.workload_entry import check_workload
from controlplane.apis.workload_entry import UNIX

if TYPE_CHECKING:
    from controlplane.apis.service_entry import ServiceEntry

_BY_NAME = {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}
_DYNAMIC_PROTOCOLS = {"HTTP", "TLS", "GRPC", "HTTP2"}
_RESERVED = frozenset({15001, 15006, 15021, 15090})
_USE_WAYPOINT = "istio.io/use-waypoint"
MOST_COMBINATIONS = 16_384
"""Of a host, an address and a port: a proxy's listeners are made for each, some 0.1 ms of processor time apiece."""


def problems(spec: ServiceEntry, subject: Subject) -> Findings:
    """Check a ServiceEntry."""
    report = Report()
    selector = spec.workload_selector
    if selector is not None:
        if not selector.labels:
            report.warn("spec.workloadSelector", "has no labels")
        if "" in selector.labels or any("*" in key for key in selector.labels):
            report.error("spec.workloadSelector.labels", "keys must not be empty or have wildcards")
        if spec.resolution is Resolution.NONE:
            report.warn("spec.workloadSelector", "has no effect with resolution NONE")
    _check_hosts(report, spec)
    _check_ports(report, spec)
    if (count := len(spec.hosts) * max(1, len(spec.addresses)) * len(spec.ports)) > MOST_COMBINATIONS:
        said = f"hosts, addresses and ports make {count:,} combinations, and may make {MOST_COMBINATIONS:,}"
        report.error("spec", f"{said}: use several ServiceEntries")
    primitives.check_subnets(report, "spec.addresses", spec.addresses)
    if spec.resolution is Resolution.DYNAMIC_DNS:
        _check_dynamic(report, spec, subject)
    else:
        _check_endpoints(report, spec)
    primitives.check_export_to(report, spec.export_to, subject.namespace, may_be_nobody=True)
    return report.findings


def _check_hosts(report: Report, spec: ServiceEntry) -> None:
    for index, host in enumerate(spec.hosts):
        path = f"spec.hosts[{index}]"
        if not primitives.is_wildcard_domain(host):
            report.error(path, f"{host!r} is not a host name or wildcard")
        elif primitives.is_partial_wildcard(host) and spec.resolution is not Resolution.DYNAMIC_DNS:
            report.warn(path, f"{host!r}: a partial wildcard is matched with resolution DYNAMIC_DNS only")
        if spec.resolution in _BY_NAME and not spec.endpoints and not primitives.is_fqdn(host):
            report.error(path, f"{host!r} cannot be resolved: without endpoints hosts must be full DNS names")
    protocols = [port.protocol for port in spec.ports]
    if len(spec.hosts) > 1 and spec.resolution is not Resolution.NONE:
        for index, protocol in enumerate(protocols):
            if not is_http(protocol) and not is_tls(protocol):
                report.error(f"spec.ports[{index}]", "several hosts need HTTP or TLS ports, or resolution NONE")


def _check_ports(report: Report, spec: ServiceEntry) -> None:
    names: set[str] = set()
    for index, port in enumerate(spec.ports):
        path = f"spec.ports[{index}]"
        if not primitives.is_dns_label(port.name):
            report.error(f"{path}.name", f"{port.name!r} is not a DNS label")
        if port.name in names:
            report.error(f"{path}.name", f"{port.name!r} is a duplicate")
        names.add(port.name)
        if port.protocol and not is_protocol(port.protocol):
            report.error(f"{path}.protocol", f"{port.protocol!r} is not a protocol")
        by_name = spec.resolution in _BY_NAME
        is_tcp = port.protocol.upper() in {"", "TCP"}
        if is_tcp and not spec.addresses and spec.resolution is Resolution.NONE:
            report.warn(path, "a TCP port without addresses takes all traffic to that port")
        if port.number in _RESERVED and not spec.addresses and not is_http(port.protocol):
            report.warn(f"{path}.number", f"{port.number} is a port of the proxy itself: it is not captured")
        by_address = port.protocol.upper() in {"", *TCP_PROTOCOLS} or is_tls(port.protocol)
        if by_name and by_address and spec.addresses and len(spec.hosts) > 1:
            report.warn(path, "hosts that share addresses cannot be told apart on a TCP port")


def _check_endpoints(report: Report, spec: ServiceEntry) -> None:
    ports = {port.name for port in spec.ports}
    for index, endpoint in enumerate(spec.endpoints):
        path = f"spec.endpoints[{index}]"
        check_workload(report, path, endpoint, names_allowed=spec.resolution in _BY_NAME)
        for name in endpoint.ports:
            if name not in ports:
                report.error(f"{path}.ports.{name}", "is not a port of the ServiceEntry")
        if endpoint.address.startswith(UNIX) and len(spec.ports) != 1:
            report.error(f"{path}.address", "a unix domain socket needs exactly one port")
        if endpoint.address.startswith(UNIX) and spec.resolution in _BY_NAME:
            report.error(f"{path}.address", "a unix domain socket needs resolution STATIC")


def _check_dynamic(report: Report, spec: ServiceEntry, subject: Subject) -> None:
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            report.error(f"spec.hosts[{index}]", "resolution DYNAMIC_DNS needs wildcards")
    for name, given in (("addresses", spec.addresses), ("endpoints", spec.endpoints)):
        if given:
            report.error(f"spec.{name}", "cannot be set with resolution DYNAMIC_DNS")
    for index, port in enumerate(spec.ports):
        if port.protocol.upper() not in _DYNAMIC_PROTOCOLS:
            report.error(f"spec.ports[{index}].protocol", f"{port.protocol!r} cannot be used with DYNAMIC_DNS")
    if spec.location is Location.MESH_INTERNAL and _USE_WAYPOINT in subject.labels:
        report.error("spec.location", f"MESH_INTERNAL with label {_USE_WAYPOINT} cannot be used with DYNAMIC_DNS")
