"""Rules of WorkloadEntry, alone or as an endpoint of a ServiceEntry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject
from controlplane.apis.workload_entry import UNIX
from controlplane.documents.words import is_ip

if TYPE_CHECKING:
    from controlplane.apis.workload_entry import WorkloadEntry, WorkloadTemplate


def problems(spec: WorkloadEntry, _subject: Subject) -> Findings:
    """Check a WorkloadEntry."""
    report = Report()
    check_workload(report, "spec", spec, names_allowed=True)
    return report.findings


def check_workload(report: Report, path: str, entry: WorkloadTemplate, *, names_allowed: bool) -> None:
    """Check address, ports and labels; ``names_allowed`` tells whether the address may be a host name."""
    address = entry.address
    if not address:
        if entry.network:
            report.warn(f"{path}.address", "is empty: only the gateway of the network can reach it")
        else:
            report.error(f"{path}.address", "is required")
    elif not address.startswith(UNIX) and not is_ip(address):
        if not names_allowed:
            report.error(f"{path}.address", f"{address!r} is not an IP address")
        elif not primitives.is_fqdn(address):
            report.error(f"{path}.address", f"{address!r} is neither an IP address nor a host name")
    primitives.check_labels(report, f"{path}.labels", entry.labels)
