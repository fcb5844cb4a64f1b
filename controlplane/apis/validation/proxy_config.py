"""Rules of ProxyConfig; its schema holds most of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject

if TYPE_CHECKING:
    from controlplane.apis.proxy_config import ProxyConfigResource


def problems(spec: ProxyConfigResource, _subject: Subject) -> Findings:
    """Check a ProxyConfig."""
    report = Report()
    primitives.check_selector(report, "spec.selector", spec.selector)
    return report.findings
