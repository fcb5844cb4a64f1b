"""Rules of RequestAuthentication."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject

if TYPE_CHECKING:
    from controlplane.apis.request_authentication import RequestAuthentication

_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}


def problems(spec: RequestAuthentication, _subject: Subject) -> Findings:
    """Check a RequestAuthentication."""
    report = Report()
    primitives.check_selector(report, "spec.selector", spec.selector)
    primitives.check_targets(report, spec.target_ref, spec.target_refs)
    for index, each in enumerate(spec.jwt_rules):
        path = f"spec.jwtRules[{index}]"
        if each.issuer is None and not each.jwks_uri and not each.jwks:
            report.error(path, "issuer, jwksUri or jwks is required")
        if each.jwks:
            _check_keys(report, f"{path}.jwks", each.jwks)
    return report.findings


def _check_keys(report: Report, path: str, text: str) -> None:
    try:
        keys = json.loads(text)["keys"]
        private = [key for key in keys if _PRIVATE & key.keys()]
    except (ValueError, KeyError, TypeError, AttributeError):
        report.error(path, "is not a JSON web key set")
        return
    if private:
        report.warn(path, "has private or symmetric keys")
