"""Rules of TLS as a server, which Gateway and Sidecar share."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import re2

from controlplane.apis.common import TLSProtocol
from controlplane.apis.tls import ServerTLSMode

if TYPE_CHECKING:
    from controlplane.apis.tls import ServerTLSSettings, TLSCertificate
    from controlplane.apis.validation.report import Report

_PASSTHROUGH = {ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH}
_MUTUAL = {ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL}
CIPHER_SUITES = frozenset(
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
    ]
)
ECDH_CURVES = frozenset(
    [
        "P-256",
        "P-384",
        "P-521",
        "X25519",
        "X25519MLKEM768",
        "MLKEM1024",
        "prime256v1",
        "secp384r1",
        "secp521r1",
        "x25519",
    ]
)
_SHA256 = re2.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){31}")
_SHA256_BYTES = 32


def check_server_tls(report: Report, path: str, tls: ServerTLSSettings) -> None:
    """Which certificate material goes with which mode, and doubtful protocol settings."""
    _check_ciphers(report, path, tls)
    _check_pins(report, path, tls)
    material = {
        "serverCertificate": tls.server_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "tlsCertificates": tls.tls_certificates,
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
    }
    given = [name for name, value in material.items() if value]
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        for name in given:
            report.error(f"{path}.{name}", "must not be set with ISTIO_MUTUAL")
        return
    if tls.mode in _PASSTHROUGH:
        for name in given:
            report.warn(f"{path}.{name}", f"has no effect with {tls.mode}")
        return
    _check_material(report, path, tls)


def _check_ciphers(report: Report, path: str, tls: ServerTLSSettings) -> None:
    if tls.min_protocol_version in {TLSProtocol.TLSV1_0, TLSProtocol.TLSV1_1} and not tls.cipher_suites:
        report.warn(f"{path}.minProtocolVersion", f"{tls.min_protocol_version} needs cipherSuites that it can use")
    seen: set[str] = set()
    for index, suite in enumerate(tls.cipher_suites):
        where = f"{path}.cipherSuites[{index}]"
        if suite not in CIPHER_SUITES:
            report.warn(where, f"{suite!r} is not a known cipher suite and is left out")
        elif suite in seen:
            report.warn(where, f"{suite!r} is a duplicate")
        seen.add(suite)
    for index, curve in enumerate(tls.ecdh_curves):
        if curve not in ECDH_CURVES:
            report.warn(f"{path}.ecdhCurves[{index}]", f"{curve!r} is not a known curve and is left out")


def _check_pins(report: Report, path: str, tls: ServerTLSSettings) -> None:
    """Digests of certificates and keys in the forms that Envoy reads."""
    for index, text in enumerate(tls.verify_certificate_hash):
        if _SHA256.fullmatch(text) is None:
            report.error(f"{path}.verifyCertificateHash[{index}]", f"{text!r} is not a SHA-256 in hexadecimal digits")
    for index, text in enumerate(tls.verify_certificate_spki):
        if not _is_pin(text):
            report.error(f"{path}.verifyCertificateSpki[{index}]", f"{text!r} is not a SHA-256 in base64")
    if tls.mode is ServerTLSMode.SIMPLE and tls.subject_alt_names:
        report.warn(f"{path}.subjectAltNames", "has no effect with SIMPLE, which asks callers for no certificate")


def _is_pin(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _SHA256_BYTES
    except (binascii.Error, ValueError):
        return False


def _check_material(report: Report, path: str, tls: ServerTLSSettings) -> None:
    files = bool(tls.server_certificate and tls.private_key)
    sources = (bool(tls.credential_name), bool(tls.credential_names), files, bool(tls.tls_certificates))
    if sum(sources) > 1:
        report.error(path, "only one of credentialName, credentialNames, tlsCertificates and files can be set")
    if tls.ca_crl and tls.mode is ServerTLSMode.SIMPLE and not (tls.credential_name or tls.credential_names):
        report.error(f"{path}.caCrl", "needs a mode that verifies clients")
    if tls.credential_name or tls.credential_names:
        return
    for index, each in enumerate(tls.tls_certificates):
        _check_pair(report, f"{path}.tlsCertificates[{index}]", each, tls.mode)
    if not tls.tls_certificates:
        _check_pair(report, path, tls, tls.mode)
    if tls.mode in _MUTUAL and not (tls.ca_certificates or any(each.ca_certificates for each in tls.tls_certificates)):
        report.error(f"{path}.caCertificates", f"is required with {tls.mode}")


def _check_pair(report: Report, path: str, pair: TLSCertificate | ServerTLSSettings, mode: ServerTLSMode) -> None:
    if not pair.server_certificate:
        report.error(f"{path}.serverCertificate", f"is required with {mode}")
    if not pair.private_key:
        report.error(f"{path}.privateKey", f"is required with {mode}")
