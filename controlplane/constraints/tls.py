"""What Envoy checks of TLS contexts when it loads them; each check yields (path from the message down, reason)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import re2

Wrong = Iterator[tuple[str, str]]
_SHA256 = re2.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){31}")
_SHA256_BYTES = 32


def common_tls_faults(common: Any) -> Wrong:  # noqa: ANN401
    """Check a CommonTlsContext: whom it trusts, and its protocols."""
    stated = common.validation_context
    trusted = stated.HasField("trusted_ca") or stated.HasField("ca_certificate_provider_instance")
    names = stated.match_typed_subject_alt_names or stated.match_subject_alt_names
    if names and not trusted and not stated.HasField("system_root_certs"):
        yield "validation_context", "names of the peer are checked only beside an authority"
    for index, name in enumerate(common.alpn_protocols):
        if not 0 < len(name.encode()) <= 255:  # noqa: PLR2004 - one byte holds the length
            yield f"alpn_protocols[{index}]", "must have 1 to 255 bytes"


def downstream_tls_faults(context: Any) -> Wrong:  # noqa: ANN401
    """Check a DownstreamTlsContext: it has to show a certificate."""
    common = context.common_tls_context
    if not (
        common.tls_certificates
        or common.tls_certificate_sds_secret_configs
        or common.HasField("tls_certificate_provider_instance")
        or common.HasField("custom_tls_certificate_selector")
    ):
        yield "common_tls_context", "has no certificate"


def upstream_tls_faults(context: Any) -> Wrong:  # noqa: ANN401
    """Check an UpstreamTlsContext: the name it asks for, and whom it trusts."""
    if "\0" in context.sni:
        yield "sni", "must not have NUL characters"
    common = context.common_tls_context
    kind = common.WhichOneof("validation_context_type")
    trusted = kind is not None and (kind != "validation_context" or common.validation_context.HasField("trusted_ca"))
    if context.auto_sni_san_validation and not trusted:
        yield "auto_sni_san_validation", "needs an authority that is trusted"


def validation_faults(context: Any) -> Wrong:  # noqa: ANN401
    """Check the hashes of certificates and keys that a CertificateValidationContext pins."""
    for index, text in enumerate(context.verify_certificate_hash):
        if _SHA256.fullmatch(text) is None:
            yield f"verify_certificate_hash[{index}]", "is not a SHA-256 in hexadecimal digits"
    for index, text in enumerate(context.verify_certificate_spki):
        if not _is_pin(text):
            yield f"verify_certificate_spki[{index}]", "is not a SHA-256 in base64"


def _is_pin(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _SHA256_BYTES
    except (binascii.Error, ValueError):
        return False
