"""Rules of Telemetry; its schema holds most of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.telemetry import TagOperation
from controlplane.apis.validation import cel, primitives
from controlplane.apis.validation.formats import format_problem
from controlplane.apis.validation.report import Findings, Report, Subject

if TYPE_CHECKING:
    from controlplane.apis.telemetry import Metrics, Telemetry


def problems(spec: Telemetry, _subject: Subject) -> Findings:
    """Check a Telemetry."""
    report = Report()
    primitives.check_selector(report, "spec.selector", spec.selector)
    primitives.check_targets(report, spec.target_ref, spec.target_refs)
    if len(spec.tracing) > 1:
        report.warn("spec.tracing", "only the first entry of a side is used")
    for index, tracing in enumerate(spec.tracing):
        if len(tracing.providers) > 1:
            report.warn(f"spec.tracing[{index}].providers", "only one provider is used")
        if "" in tracing.custom_tags:
            report.error(f"spec.tracing[{index}].customTags", "a tag must have a name")
        for name, tag in tracing.custom_tags.items():
            report.spend()
            if tag.formatter is not None and (problem := format_problem(tag.formatter.value)):
                report.error(f"spec.tracing[{index}].customTags[{name}].formatter.value", problem)
            if tag.header is not None:
                primitives.check_line(report, f"spec.tracing[{index}].customTags[{name}].header.name", tag.header.name)
    for index, metrics in enumerate(spec.metrics):
        _check_metrics(report, f"spec.metrics[{index}]", metrics)
    for index, logging in enumerate(spec.access_logging):
        report.spend()
        if logging.filter is not None and (problem := cel.envoy_problem(logging.filter.expression)):
            path = f"spec.accessLogging[{index}].filter.expression"
            report.error(path, f"is not a CEL expression that Envoy takes: {problem}")
    return report.findings


def _check_metrics(report: Report, path: str, metrics: Metrics) -> None:
    for index, override in enumerate(metrics.overrides):
        for name, tag in override.tag_overrides.items():
            if tag.operation is TagOperation.UPSERT and not tag.value:
                where = f"{path}.overrides[{index}].tagOverrides[{name}].value"
                report.error(where, "is required unless the operation is REMOVE")
