"""Rules of RequestAuthentication."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject
from controlplane.documents.json_reader import json_value
from controlplane.documents.key_sets import key_set_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controlplane.apis.request_authentication import RequestAuthentication

_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}
#: what a key of each type consists of at least. Reference: RFC 7518, section 6, and RFC 8037, section 2.
_PARTS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "oct": ("k",), "OKP": ("crv", "x")}


def problems(spec: RequestAuthentication, _subject: Subject) -> Findings:
    """Check a RequestAuthentication."""
    report = Report()
    primitives.check_selector(report, "spec.selector", spec.selector)
    primitives.check_targets(report, spec.target_ref, spec.target_refs)
    for index, each in enumerate(spec.jwt_rules):
        path = f"spec.jwtRules[{index}]"
        if not each.issuer and not each.jwks_uri:
            report.error(path, "issuer or jwksUri is required")
        for position, header in enumerate(each.from_headers):
            primitives.check_line(report, f"{path}.fromHeaders[{position}].name", header.name)
            primitives.check_line(report, f"{path}.fromHeaders[{position}].prefix", header.prefix)
        primitives.check_line(report, f"{path}.outputPayloadToHeader", each.output_payload_to_header)
        if each.jwks_uri and not each.jwks and _is_near(urlsplit(each.jwks_uri).hostname or ""):
            report.warn(f"{path}.jwksUri", "is an address of the machine that asks: no keys are fetched from there")
        if each.jwks:
            _check_keys(report, f"{path}.jwks", each.jwks)
    return report.findings


def _is_near(host: str) -> bool:
    """Whether a host is the machine that asks or its own network alone, which is never asked for keys."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified or address.is_link_local


def _is_complete(key: Mapping[str, object]) -> bool:
    parts = _PARTS.get(str(key.get("kty")), ())
    return bool(parts) and all(isinstance(key.get(part), str) and key.get(part) for part in parts)


def _check_keys(report: Report, path: str, text: str) -> None:
    try:
        keys = json_value(text)["keys"]
        private = [key for key in keys if _PRIVATE & key.keys()]
        incomplete = [index for index, key in enumerate(keys) if not _is_complete(key)]
    except (ValueError, KeyError, TypeError, AttributeError):
        report.error(path, "is not a JSON web key set")
        return
    if incomplete:
        report.error(path, f"keys[{incomplete[0]}] is not a complete key of one of the types {', '.join(_PARTS)}")
    elif problem := key_set_problem(text):
        report.warn(path, f"no token is believed: it {problem}")
    if private:
        report.warn(path, "has private or symmetric keys")
