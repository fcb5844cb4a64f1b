"""A signer outside signs, and the requests go to it through Kubernetes: this control plane vouches for who asks.

Each request becomes a CertificateSigningRequest, which is approved here, since its names are those that the caller has
proved. What the signer answers is checked before a workload sees it. Reference: istiod's
``EXTERNAL_CA=ISTIOD_RA_KUBERNETES_API``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane.model.certificate_text import decode, extensions
from controlplane.security.ca import Lifetimes, utc_now
from controlplane.security.certificates import encode
from controlplane.security.external_roots import ExternalRoots
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.refusal import Refusal
from controlplane.security.signer_answer import Expected, checked_answer
from controlplane.security.signing import CSR_ERROR, Wanted, checked_lifetime, names_refused, read_request, refused
from controlplane.security.signing_requests import SigningRequest, SigningRequests
from controlplane.security.sources import SourceUnavailableError

_KNOWN = {
    x509.BasicConstraints.oid: "a certificate authority (basicConstraints)",
    x509.KeyUsage.oid: "keyUsage",
    x509.ExtendedKeyUsage.oid: "extendedKeyUsage",
}
_APPROVED = ("IdentityProved", "The caller has proved the names of this request to the mesh's control plane.")


@dataclass(frozen=True, slots=True)
class SignerPolicy:
    """Who signs: ``default`` for callers that name nobody; what they name is a name of ``domain``."""

    default: str = ""
    domain: str = ""
    lifetimes: Lifetimes = Lifetimes()  # noqa: RUF009 - frozen

    def of(self, named: str) -> str:
        """Return the full name of the signer for a caller who named one, or none.

        Raises:
            CallRefused: there is no such signer.
        """
        if not named:
            if not self.default:
                raise refused("CERT_GEN_ERROR", "the request names no signer, and there is no usual one (K8S_SIGNER)")
            return self.default
        if not self.domain:
            raise refused("CERT_GEN_ERROR", f"signer {named!r}: no domain of signers is set (CERT_SIGNER_DOMAIN)")
        return f"{self.domain}/{named}"


class SignerRoots:
    """What certificates of a signer may lead to: roots of it that everybody in the mesh has been told to trust.

    ``bundle`` says what that is (PEM).
    """

    def __init__(self, roots: ExternalRoots, bundle: Callable[[], str]) -> None:
        self._roots = roots
        self._bundle = bundle

    @property
    def bundle(self) -> str:
        """What everybody trusts (PEM)."""
        return self._bundle()

    def of(self, signer: str) -> tuple[x509.Certificate, ...]:
        """Return the roots of a signer.

        Raises:
            CallRefused: there are none.
        """
        try:
            roots = self._roots.of(signer)
        except (InvalidIssuerError, SourceUnavailableError) as error:
            raise refused("CERT_GEN_ERROR", str(error), Refusal.INTERNAL) from error
        if not roots:
            raise refused("CERT_GEN_ERROR", f"signer {signer}: no root of it is known", Refusal.INTERNAL)
        given_out = decode(self._bundle().encode())
        trusted = tuple(root for root in roots if root in given_out)
        if not trusted:
            raise refused("CERT_GEN_ERROR", f"signer {signer}: its root is not given out yet", Refusal.UNAVAILABLE)
        return trusted


class KubernetesSigner:
    """A ``Signer`` that asks others."""

    def __init__(
        self,
        requests: SigningRequests,
        policy: SignerPolicy,
        roots: SignerRoots,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._requests = requests
        self._policy = policy
        self._roots = roots
        self._clock = clock

    async def chain(self, wanted: Wanted) -> tuple[str, ...]:
        """Have a request signed; see ``Signer``."""
        lifetimes = self._policy.lifetimes
        lifetime = checked_lifetime(wanted.lifetime, lifetimes.default, lifetimes.longest)
        csr, key = read_request(wanted.csr)
        check_request(csr, wanted.names)
        signer = self._policy.of(wanted.signer)
        expected = Expected(key, wanted.names, lifetimes.longest, self._roots.of(signer))
        answer = await self._requests.answer(SigningRequest(wanted.csr, signer, lifetime, "workload", *_APPROVED))
        certificates = checked_answer(answer, expected, signer, self._clock())
        return (*(encode([each]) for each in certificates), self._roots.bundle)


def check_request(csr: x509.CertificateSigningRequest, names: Sequence[str]) -> None:
    """Refuse what asks for more than its sender is: the signer takes names and the rest from the request.

    Raises:
        CallRefused: other names, none at all, a subject, or extensions other than names.
    """
    if any(each.oid != NameOID.ORGANIZATION_NAME or each.value for each in csr.subject):
        raise refused(CSR_ERROR, f"the request has a subject, {csr.subject.rfc4514_string()}, and must have none")
    try:
        requested = list(extensions(csr))
    except ValueError as error:
        raise refused(CSR_ERROR, f"of the request, {error}") from error
    stated: list[x509.GeneralName] = []
    for extension in requested:
        if not isinstance(extension.value, x509.SubjectAlternativeName):
            raise refused(CSR_ERROR, f"the request is for {_name_of(extension.oid)}, and must be for names alone")
        stated += extension.value
    if not stated:
        raise names_refused(f"the request has no names; it must have {', '.join(names)}")
    is_uri = all(isinstance(each, x509.UniformResourceIdentifier) for each in stated)
    if not is_uri or sorted(str(each.value) for each in stated) != sorted(names):
        raise names_refused(f"the request has other names than its sender, which are {', '.join(names)}")


def _name_of(oid: x509.ObjectIdentifier) -> str:
    """Return what an extension is, by its usual name or its number."""
    return _KNOWN.get(oid, oid.dotted_string)
