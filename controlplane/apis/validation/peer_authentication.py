"""Rules of PeerAuthentication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject

if TYPE_CHECKING:
    from controlplane.apis.peer_authentication import PeerAuthentication


def problems(spec: PeerAuthentication, _subject: Subject) -> Findings:
    """Check a PeerAuthentication; its schema holds the other rules."""
    report = Report()
    primitives.check_selector(report, "spec.selector", spec.selector)
    if spec.has("port_level_mtls") and not spec.port_level_mtls:
        report.error("spec.portLevelMtls", "must not be empty when given")
    return report.findings
