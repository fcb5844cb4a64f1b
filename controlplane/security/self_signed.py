"""A root that this control plane makes and renews by itself, as pure functions of the files or Secret that hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from controlplane.model.certificate_text import certified_key, decode
from controlplane.security.certificates import (
    CLOCK_SKEW,
    encode,
    encode_key,
    private_key,
    root_subject,
    self_signed_root,
)
from controlplane.security.issuer import CA_CERTIFICATE, CA_KEY, CHAIN, ROOTS

Files = Mapping[str, bytes]
"""Contents by file name, or by key of a Secret."""

_KEY_SIZE = 2048  # bits of RSA; istiod's


@dataclass(frozen=True, slots=True)
class RootPolicy:
    """How a self-signed root is made and lives: renewed when ``grace`` of its lifetime (0 to 1) is left.

    ``trust_domain`` is that of roots to come; one that is there stays as it is. A renewed root is trusted for
    ``overlap`` before it takes the place of the old one.
    """

    trust_domain: str = "cluster.local"
    lifetime: timedelta = timedelta(days=3650)
    grace: float = 0.2
    overlap: timedelta = timedelta(hours=24)


def new_root(policy: RootPolicy, now: datetime) -> Files:
    """Return a new key and its root. Takes a noticeable part of a second: RSA."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_SIZE)
    root = self_signed_root(key, root_subject(policy.trust_domain), policy.lifetime, now)
    return {CA_KEY: encode_key(key), **_certificates(root, [root])}


def renewal(files: Files, policy: RootPolicy, now: datetime) -> Files | None:
    """Return what shall be held instead of a valid ``files``, or ``None`` if nothing is due.

    Two steps, the same key and subject throughout. First the new root joins the roots and the old one goes on signing;
    after ``overlap``, or when the old one ends, the new one takes its place. When the first step was is read from
    the new root, so that it does not matter which control plane does which step.
    """
    current = decode(files[CA_CERTIFICATE])[0]
    roots = list(dict.fromkeys((*decode(files.get(ROOTS, b"")), current)))
    newest = max((root for root in roots if _same_authority(root, current)), key=lambda root: root.not_valid_after_utc)
    if newest != current:
        made = newest.not_valid_before_utc + CLOCK_SKEW
        if now < min(made + policy.overlap, current.not_valid_after_utc):
            return None
        kept = [root for root in roots if root != newest and root.not_valid_after_utc > now]
        return {**files, **_certificates(newest, [newest, *kept])}
    whole_life = current.not_valid_after_utc - current.not_valid_before_utc
    if now < current.not_valid_after_utc - whole_life * policy.grace:
        return None
    renewed = self_signed_root(private_key(files[CA_KEY]), current.subject, policy.lifetime, now)
    return {**files, **_certificates(current, [*roots, renewed])}


def _same_authority(root: x509.Certificate, current: x509.Certificate) -> bool:
    try:
        return certified_key(root) == certified_key(current) and root.subject == current.subject
    except ValueError:  # a key of a kind that nobody knows is not that of what signs here
        return False


def _certificates(signer: x509.Certificate, roots: list[x509.Certificate]) -> Files:
    return {CA_CERTIFICATE: encode([signer]).encode(), CHAIN: b"", ROOTS: encode(roots).encode()}
