"""Rules of VirtualService. Those of single HTTP routes are in ``http_route``, unreachable ones in ``reachability``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.validation import primitives
from controlplane.apis.validation.http_route import check_destination, check_http_route, check_weights
from controlplane.apis.validation.overlaps import CoveringHosts, overlapping_hosts
from controlplane.apis.validation.primitives import MESH_GATEWAY
from controlplane.apis.validation.reachability import check_reachability
from controlplane.apis.validation.report import Findings, Report, Subject
from controlplane.documents.words import is_ip

if TYPE_CHECKING:
    from controlplane.apis.virtual_service import (
        L4MatchAttributes,
        RouteDestination,
        TLSMatchAttributes,
        TLSRoute,
        VirtualService,
    )

_SNI_ROUTE = "outbound_."


def problems(spec: VirtualService, subject: Subject) -> Findings:
    """Check a VirtualService."""
    report = Report()
    on_mesh = not spec.gateways or MESH_GATEWAY in spec.gateways
    at_gateway = any(gateway != MESH_GATEWAY for gateway in spec.gateways)
    _check_binding(report, spec, on_mesh=on_mesh)
    primitives.check_gateway_names(report, "spec.gateways", spec.gateways)
    if not (spec.http or spec.tls or spec.tcp):
        report.error("spec", "http, tcp or tls must be set")
    for index, http in enumerate(spec.http):
        check_http_route(report, f"spec.http[{index}]", http, is_delegate=not spec.hosts, at_gateway=at_gateway)
    hosts = CoveringHosts(spec.hosts)
    for index, tls in enumerate(spec.tls):
        _check_tls(report, f"spec.tls[{index}]", tls, spec, hosts)
    for index, tcp in enumerate(spec.tcp):
        path = f"spec.tcp[{index}]"
        for position, match in enumerate(tcp.match):
            _check_l4(report, f"{path}.match[{position}]", match)
            if match.source_subnet:
                primitives.check_subnets(report, f"{path}.match[{position}].sourceSubnet", [match.source_subnet])
        _check_choices(report, path, tcp.route)
    primitives.check_export_to(report, spec.export_to, subject.namespace)
    check_reachability(report, spec)
    return report.findings


def _check_binding(report: Report, spec: VirtualService, *, on_mesh: bool) -> None:
    """Hosts, and what a VirtualService without them may not have."""
    if not spec.hosts:
        for name, given in (("gateways", spec.gateways), ("tls", spec.tls), ("tcp", spec.tcp)):
            if given:
                report.error(f"spec.{name}", "a delegate (no hosts) cannot have this")
        return
    for index, host in enumerate(spec.hosts):
        path = f"spec.hosts[{index}]"
        if not (primitives.is_wildcard_domain(host) or is_ip(host) or _is_sni_route(spec, host)):
            report.error(path, f"{host!r} is not a host name, wildcard or IP address")
        elif host == "*" and on_mesh:
            report.error(path, "'*' is not allowed for sidecars (gateway mesh)")
    for later, earlier in sorted(overlapping_hosts(spec.hosts).items()):
        reason = f"{spec.hosts[later]!r} overlaps {spec.hosts[earlier]!r}: duplicate hosts"
        report.error(f"spec.hosts[{later}]", reason)


def _is_sni_route(spec: VirtualService, host: str) -> bool:
    """Whether a host is how another gateway calls a cluster in a server name, ``outbound_.80_._.HOST``."""
    port, separator, name = host.removeprefix(_SNI_ROUTE).partition("_._.")
    named = host.startswith(_SNI_ROUTE) and separator and name and port.isascii() and port.isdecimal()
    return bool(spec.gateways and named and any(match.sni_hosts for tls in spec.tls for match in tls.match))


def _check_tls(report: Report, path: str, route: TLSRoute, spec: VirtualService, hosts: CoveringHosts) -> None:
    if not route.match:
        report.error(f"{path}.match", "at least one match is required")
    for index, match in enumerate(route.match):
        where = f"{path}.match[{index}]"
        if not match.sni_hosts:
            report.error(f"{where}.sniHosts", "at least one is required")
        report.spend()
        for position, sni in enumerate(match.sni_hosts):
            at = f"{where}.sniHosts[{position}]"
            if is_ip(sni):
                report.warn(at, f"{sni!r}: clients send no IP address as server name")
                continue
            if not (primitives.is_wildcard_domain(sni) or _is_sni_route(spec, sni)):
                report.error(at, f"{sni!r} is not a host name or wildcard")
            elif primitives.is_partial_wildcard(sni):
                report.error(at, f"{sni!r}: {primitives.NO_PARTIAL_NAME}")
            if not hosts.cover(sni):
                report.error(at, f"{sni!r} is not covered by spec.hosts")
        _check_l4(report, where, match)
    _check_choices(report, path, route.route)


def _check_l4(report: Report, path: str, match: L4MatchAttributes | TLSMatchAttributes) -> None:
    primitives.check_subnets(report, f"{path}.destinationSubnets", match.destination_subnets)
    if match.port:  # in protobuf an explicit 0 says nothing
        primitives.check_port(report, f"{path}.port", match.port)
    primitives.check_labels(report, f"{path}.sourceLabels", match.source_labels)
    primitives.check_gateway_names(report, f"{path}.gateways", match.gateways)
    if match.source_namespace and not primitives.is_dns_label(match.source_namespace):
        report.error(f"{path}.sourceNamespace", f"{match.source_namespace!r} is not a namespace")


def _check_choices(report: Report, path: str, choices: tuple[RouteDestination, ...]) -> None:
    if not choices:
        report.error(f"{path}.route", "at least one destination is required")
    for index, choice in enumerate(choices):
        check_destination(report, f"{path}.route[{index}].destination", choice.destination)
    check_weights(report, f"{path}.route", [choice.weight for choice in choices])
