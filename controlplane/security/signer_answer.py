"""What a signer outside answers, checked before anybody sees it: it may be broken, or somebody else's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.model.certificate_text import certified_key, decode, extension, extensions
from controlplane.security.certificates import (
    CLOCK_SKEW,
    PublicKey,
    general_name,
    is_authority,
    issued_by,
    leads_to,
    public_key,
)
from controlplane.security.refusal import Refusal
from controlplane.security.signing import refused

log = structlog.get_logger(__name__)

_ANY_PURPOSE = x509.ObjectIdentifier("2.5.29.37.0")
_PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


class Expected(NamedTuple):
    """What was asked for: a certificate of this key for exactly these names, that lives for ``longest`` at most.

    It has to lead to one of ``roots``.
    """

    key: PublicKey
    names: Sequence[str]
    longest: timedelta
    roots: Sequence[x509.Certificate]


def checked_answer(answer: bytes, expected: Expected, signer: str, now: datetime) -> tuple[x509.Certificate, ...]:
    """Return the certificates of an answer (PEM), without roots, if it is what was asked for.

    Raises:
        CallRefused: it is not; what is wrong is logged, too.
    """
    try:
        found = tuple(each for each in decode(answer) if each not in expected.roots)
        problem = _problem(found, expected, now)
    except ValueError as error:
        found, problem = (), f"it is no list of certificates in PEM that can be read: {error}"
    if problem:
        log.error("security.signer_wrong", signer=signer, reason=problem)
        raise refused("CERT_GEN_ERROR", f"signer {signer}: its answer is refused: {problem}", Refusal.INTERNAL)
    return found


def _problem(found: Sequence[x509.Certificate], expected: Expected, now: datetime) -> str:
    """Say what is wrong with an answer; empty if nothing is."""
    if not found:
        return "it holds no certificate"
    certificate, *between = found
    if public_key(certified_key(certificate)) != expected.key:
        return "it is for another key"
    wrong = _wrong_names(certificate, expected.names) or _wrong_purpose(certificate)
    if wrong:
        return wrong
    if not _in_force(certificate, now):
        return "it has ended, or has not begun"
    if certificate.not_valid_after_utc > now + expected.longest + CLOCK_SKEW:
        return f"it ends at {certificate.not_valid_after_utc.isoformat(timespec='seconds')}, later than it may"
    if not leads_to(found, expected.roots):
        return "it does not lead to a root of this signer"
    roots = [root for root in expected.roots if issued_by(found[-1], root)]
    if not all(is_authority(each) for each in between):
        return "it was signed by what is no certificate authority"
    if not all(_in_force(each, now) for each in between) or not any(_in_force(root, now) for root in roots):
        return "what it was signed by has ended, or has not begun"
    return ""


def _wrong_names(certificate: x509.Certificate, names: Sequence[str]) -> str:
    stated = extension(certificate, x509.SubjectAlternativeName)
    if stated is None:
        return "it has no names"
    return "" if set(stated) == set(map(general_name, names)) else f"it has other names than {', '.join(names)}"


def _wrong_purpose(certificate: x509.Certificate) -> str:
    """Say what a certificate is good for that it should not be, or the other way round.

    What states no purpose has each. Reference: SPIFFE X.509-SVID, sections 4.3 and 4.4.
    """
    if is_authority(certificate):
        return "it is that of a certificate authority"
    for stated in extensions(certificate):
        match stated.value:
            case x509.KeyUsage() as usage if usage.key_cert_sign or usage.crl_sign or not usage.digital_signature:
                return "its keyUsage is not that of a client and server"
            case x509.ExtendedKeyUsage() as purposes if not (_ANY_PURPOSE in purposes or set(purposes) >= _PURPOSES):
                return "its extendedKeyUsage is not that of a client and server"
    return ""


def _in_force(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc
