"""Rules of WorkloadGroup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject

if TYPE_CHECKING:
    from controlplane.apis.workload_entry import WorkloadGroup


def problems(spec: WorkloadGroup, _subject: Subject) -> Findings:
    """Check a WorkloadGroup."""
    report = Report()
    if spec.metadata is not None:
        primitives.check_labels(report, "spec.metadata.labels", spec.metadata.labels)
    primitives.check_labels(report, "spec.template.labels", spec.template.labels)
    probe = spec.probe
    if probe is not None:
        if not (probe.http_get or probe.tcp_socket or probe.exec or probe.grpc):
            report.error("spec.probe", "httpGet, tcpSocket, exec or grpc is required")
        if probe.exec is not None and not probe.exec.command:
            report.error("spec.probe.exec.command", "must not be empty")
    return report.findings
