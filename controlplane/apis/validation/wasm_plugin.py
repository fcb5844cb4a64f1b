"""Rules of WasmPlugin; its schema holds most of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject

if TYPE_CHECKING:
    from controlplane.apis.extensions import WasmConfig, WasmPlugin


def problems(spec: WasmPlugin, _subject: Subject) -> Findings:
    """Check a WasmPlugin."""
    report = Report()
    primitives.check_selector(report, "spec.selector", spec.selector)
    primitives.check_targets(report, spec.target_ref, spec.target_refs)
    check_wasm(report, "spec", spec)
    return report.findings


def check_wasm(report: Report, path: str, config: WasmConfig) -> None:
    """Variables are named once."""
    names = [each.name for each in config.vm_config.env] if config.vm_config is not None else []
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            report.error(f"{path}.vmConfig.env[{index}].name", f"{name!r} is a duplicate")
        seen.add(name)
