"""Rules of TrafficExtension; its schema holds most of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject
from controlplane.apis.validation.wasm_plugin import check_wasm

if TYPE_CHECKING:
    from controlplane.apis.extensions import TrafficExtension


def problems(spec: TrafficExtension, _subject: Subject) -> Findings:
    """Check a TrafficExtension."""
    report = Report()
    primitives.check_selector(report, "spec.selector", spec.selector)
    primitives.check_targets(report, None, spec.target_refs)
    if spec.wasm is not None:
        check_wasm(report, "spec.wasm", spec.wasm)
    return report.findings
