"""Rules of DestinationRule. Those on load balancing are in ``load_balancer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.destination_rule import ClientTLSMode
from controlplane.apis.validation import primitives
from controlplane.apis.validation.connection_pool import check_connection_pool, check_outlier_detection
from controlplane.apis.validation.load_balancer import check_load_balancer
from controlplane.apis.validation.report import Findings, Report, Subject
from controlplane.documents.words import is_ip

if TYPE_CHECKING:
    from controlplane.apis.destination_rule import (
        ClientTLSSettings,
        DestinationRule,
        PortTrafficPolicy,
        TrafficPolicy,
        TunnelSettings,
    )

_CONFIG_MAP = "configmap://"


def problems(spec: DestinationRule, subject: Subject) -> Findings:
    """Check a DestinationRule."""
    report = Report()
    if not primitives.is_wildcard_domain(spec.host):
        report.error("spec.host", f"{spec.host!r} is not a host name or wildcard")
    if spec.traffic_policy is not None:
        check_policy(report, "spec.trafficPolicy", spec.traffic_policy, subject)
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        path = f"spec.subsets[{index}]"
        if not primitives.is_dns_label(subset.name):
            report.error(f"{path}.name", f"{subset.name!r} is not a DNS label")
        if subset.name in names:
            report.error(f"{path}.name", f"{subset.name!r} is a duplicate")
        names.add(subset.name)
        primitives.check_labels(report, f"{path}.labels", subset.labels)
        if subset.traffic_policy is not None:
            check_policy(report, f"{path}.trafficPolicy", subset.traffic_policy, subject)
    primitives.check_export_to(report, spec.export_to, subject.namespace)
    if spec.workload_selector is not None:
        primitives.check_selector(report, "spec.workloadSelector", spec.workload_selector)
        if any(target not in {".", subject.namespace} for target in spec.export_to):
            report.error("spec.exportTo", "with workloadSelector only the own namespace is possible")
    return report.findings


def check_policy(report: Report, path: str, policy: TrafficPolicy, subject: Subject) -> None:
    """Check one policy with those of its ports; the mesh's own too."""
    if not any(getattr(policy, name) for name in policy.model_fields_set):
        report.error(path, "must have at least one setting")
    _check_settings(report, path, policy, subject)
    if policy.tunnel is not None:
        if policy.proxy_protocol is not None:
            report.error(path, "tunnel and proxyProtocol cannot be set together")
        _check_tunnel(report, f"{path}.tunnel", policy.tunnel)
    for index, port in enumerate(policy.port_level_settings):
        where = f"{path}.portLevelSettings[{index}]"
        if port.port is None:
            report.error(f"{where}.port", "is required")
        else:
            primitives.check_port(report, f"{where}.port.number", port.port.number)
        if not (port.load_balancer or port.connection_pool or port.outlier_detection or port.tls):
            report.error(where, "loadBalancer, connectionPool, outlierDetection or tls is required")
        _check_settings(report, where, port, subject)


def _check_settings(report: Report, path: str, policy: TrafficPolicy | PortTrafficPolicy, subject: Subject) -> None:
    """What a policy and that of a port have in common."""
    if policy.connection_pool is not None:
        check_connection_pool(report, f"{path}.connectionPool", policy.connection_pool)
    if policy.load_balancer is not None:
        detected = policy.outlier_detection is not None
        check_load_balancer(report, f"{path}.loadBalancer", policy.load_balancer, has_outlier_detection=detected)
    if policy.outlier_detection is not None:
        check_outlier_detection(report, f"{path}.outlierDetection", policy.outlier_detection)
    if policy.tls is not None:
        _check_tls(report, f"{path}.tls", policy.tls, subject)


def _check_tls(report: Report, path: str, tls: ClientTLSSettings, subject: Subject) -> None:
    reference = tls.credential_name
    if reference.startswith(_CONFIG_MAP):
        namespace, slash, _ = reference.removeprefix(_CONFIG_MAP).partition("/")
        if slash and namespace != subject.namespace:
            report.error(f"{path}.credentialName", "a ConfigMap must be in the namespace of the DestinationRule")
    if tls.mode not in {ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL}:
        return
    if tls.insecure_skip_verify:
        if tls.ca_certificates:
            report.error(f"{path}.insecureSkipVerify", "contradicts caCertificates")
        if tls.subject_alt_names:
            report.error(f"{path}.insecureSkipVerify", "contradicts subjectAltNames")
        if tls.mode is ClientTLSMode.SIMPLE and reference:
            report.error(f"{path}.insecureSkipVerify", "contradicts credentialName")
    if reference and (tls.client_certificate or tls.private_key or tls.ca_certificates or tls.ca_crl):
        report.error(f"{path}.credentialName", "cannot be set together with files")
    if tls.mode is ClientTLSMode.MUTUAL and not reference:
        for name, value in (("clientCertificate", tls.client_certificate), ("privateKey", tls.private_key)):
            if not value:
                report.error(f"{path}.{name}", "is required with MUTUAL")


def _check_tunnel(report: Report, path: str, tunnel: TunnelSettings) -> None:
    if tunnel.protocol not in {"", "CONNECT", "POST"}:
        report.error(f"{path}.protocol", "must be CONNECT or POST")
    if not (primitives.is_fqdn(tunnel.target_host) or is_ip(tunnel.target_host)):
        report.error(f"{path}.targetHost", f"{tunnel.target_host!r} is neither a host name nor an IP address")
    primitives.check_port(report, f"{path}.targetPort", tunnel.target_port)
