"""A signer outside signs, and the requests go to it through Kubernetes: this control plane vouches for who asks.

Each request becomes a CertificateSigningRequest, which is approved here, since its names are those that the caller has
proved. What the signer answers is checked before a workload sees it. Reference: Kubernetes, "Certificates and
Certificate Signing Requests"; istiod's ``EXTERNAL_CA=ISTIOD_RA_KUBERNETES_API``.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from aiohttp import ClientError
from cryptography import x509
from cryptography.x509.oid import NameOID
from kubernetes.aio.client import ApiClient, ApiException, CertificatesV1Api

from controlplane.backoff import Backoff
from controlplane.security.ca import Lifetimes, utc_now
from controlplane.security.certificates import PublicKey, decode, encode, is_authority, leads_to, public_key
from controlplane.security.external_roots import ExternalRoots
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.refusal import Refusal
from controlplane.security.signing import Wanted, checked_lifetime, read_request, refused
from controlplane.security.sources import SourceUnavailableError

log = structlog.get_logger(__name__)

USAGES = ("digital signature", "key encipherment", "server auth", "client auth")
_SHORTEST = timedelta(minutes=10)
"""The API takes no request for less."""
_TIMEOUT_SECONDS = 10  # of one request to the API server
_PAUSES = (0.05, 2.0)
_KNOWN = {
    x509.BasicConstraints.oid: "a certificate authority (basicConstraints)",
    x509.KeyUsage.oid: "keyUsage",
    x509.ExtendedKeyUsage.oid: "extendedKeyUsage",
}


@dataclass(frozen=True, slots=True)
class SignerPolicy:
    """Who signs: ``default`` for callers that name nobody; what they name is a name of ``domain``.

    ``patience`` is how long is waited for one answer.
    """

    default: str = ""
    domain: str = ""
    lifetimes: Lifetimes = Lifetimes()  # noqa: RUF009 - frozen
    patience: timedelta = timedelta(seconds=60)

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


class KubernetesSigner:
    """A ``Signer`` that asks others; ``roots`` are theirs, ``bundle`` says what everybody trusts."""

    def __init__(
        self,
        client: ApiClient,
        policy: SignerPolicy,
        roots: ExternalRoots,
        bundle: Callable[[], str],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._api = CertificatesV1Api(client)
        self._policy = policy
        self._roots = roots
        self._bundle = bundle
        self._clock = clock

    async def chain(self, wanted: Wanted) -> tuple[str, ...]:
        """Have a request signed; see ``Signer``. The object in the API is removed again, whatever becomes of it."""
        lifetimes = self._policy.lifetimes
        lifetime = checked_lifetime(wanted.lifetime, lifetimes.default, lifetimes.longest)
        csr, key = read_request(wanted.csr)
        _check_request(csr, wanted.names)
        signer = self._policy.of(wanted.signer)
        roots = self._roots_of(signer)
        name = f"csr-workload-{secrets.token_hex(8)}"
        try:
            await self._create(name, wanted.csr, signer, lifetime)
            try:
                await self._approve(name)
                answer = await self._signed(name, signer)
            finally:
                await self._remove(name)
        except ApiException as error:
            reason = f"signer {signer}: the API server refused: {error.status} {error.reason}"
            raise refused("CERT_GEN_ERROR", reason, Refusal.INTERNAL) from error
        except (ClientError, OSError) as error:
            reason = f"signer {signer}: the API server is not reached: {str(error) or type(error).__name__}"
            raise refused("CERT_GEN_ERROR", reason, Refusal.UNAVAILABLE) from error
        certificates = self._checked(answer, (key, wanted.names), roots, signer)
        return (*(encode([each]) for each in certificates), self._bundle())

    def _roots_of(self, signer: str) -> tuple[x509.Certificate, ...]:
        try:
            roots = self._roots.of(signer)
        except (InvalidIssuerError, SourceUnavailableError) as error:
            raise refused("CERT_GEN_ERROR", str(error), Refusal.INTERNAL) from error
        if not roots:
            raise refused("CERT_GEN_ERROR", f"signer {signer}: no root of it is known", Refusal.INTERNAL)
        return roots

    async def _create(self, name: str, csr: str, signer: str, lifetime: timedelta) -> None:
        body = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(csr.encode()).decode(),
                "signerName": signer,
                "usages": USAGES,
                "expirationSeconds": int(max(lifetime, _SHORTEST).total_seconds()),
            },
        }
        await self._api.create_certificate_signing_request(body, _request_timeout=_TIMEOUT_SECONDS)

    async def _approve(self, name: str) -> None:
        condition = {"type": "Approved", "status": "True", "reason": "IdentityProved"}
        condition["message"] = "The caller has proved the names of this request to the mesh's control plane."
        patch = {"status": {"conditions": [condition]}}
        await self._api.patch_certificate_signing_request_approval(
            name, patch, _content_type="application/merge-patch+json", _request_timeout=_TIMEOUT_SECONDS
        )

    async def _signed(self, name: str, signer: str) -> bytes:
        """Wait for the signer's answer (PEM)."""
        backoff = Backoff(*_PAUSES)
        try:
            async with asyncio.timeout(self._policy.patience.total_seconds()):
                while True:
                    found = await self._api.read_certificate_signing_request(name, _request_timeout=_TIMEOUT_SECONDS)
                    if found.status.certificate:
                        return base64.b64decode(found.status.certificate)
                    _check_conditions(found.status.conditions or (), signer)
                    await asyncio.sleep(backoff.pause())
        except TimeoutError as error:
            reason = f"signer {signer}: no certificate after {self._policy.patience.total_seconds():g} s"
            raise refused("CERT_GEN_ERROR", reason, Refusal.UNAVAILABLE) from error

    async def _remove(self, name: str) -> None:
        try:
            await self._api.delete_certificate_signing_request(name, _request_timeout=_TIMEOUT_SECONDS)
        except (ApiException, ClientError, OSError, TimeoutError) as error:
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
            log.warning("security.request_not_removed", name=name, reason=reason)  # Kubernetes does, in an hour

    def _checked(
        self,
        answer: bytes,
        expected: tuple[PublicKey, Sequence[str]],
        roots: Sequence[x509.Certificate],
        signer: str,
    ) -> tuple[x509.Certificate, ...]:
        """Return the certificates of an answer, without roots, if it is what was asked for."""
        key, names = expected
        try:
            found = tuple(each for each in decode(answer) if each not in roots)
            problem = _problem(found, key, names, self._clock())
        except ValueError:
            found, problem = (), "it is no list of certificates in PEM"
        if not problem and not leads_to(found, roots):
            problem = "it does not lead to a root of this signer"
        if problem:
            log.error("security.signer_wrong", signer=signer, reason=problem)
            raise refused("CERT_GEN_ERROR", f"signer {signer}: its answer is refused: {problem}", Refusal.INTERNAL)
        return found


def _check_request(csr: x509.CertificateSigningRequest, names: Sequence[str]) -> None:
    """Refuse what asks for more than its sender is: the signer takes names and the rest from the request.

    Raises:
        CallRefused: other names, none at all, a subject, or extensions other than names.
    """
    if any(each.oid != NameOID.ORGANIZATION_NAME or each.value for each in csr.subject):
        raise refused("CSR_ERROR", f"the request has a subject, {csr.subject.rfc4514_string()}, and must have none")
    try:
        extensions = list(csr.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise refused("CSR_ERROR", f"the request's extensions cannot be read: {error}") from error
    stated: list[x509.GeneralName] = []
    for extension in extensions:
        if not isinstance(extension.value, x509.SubjectAlternativeName):
            raise refused("CSR_ERROR", f"the request is for {_name_of(extension.oid)}, and must be for names alone")
        stated += extension.value
    if not stated:
        raise refused("CSR_ERROR", f"the request has no names; it must have {', '.join(names)}")
    is_uri = all(isinstance(each, x509.UniformResourceIdentifier) for each in stated)
    if not is_uri or sorted(str(each.value) for each in stated) != sorted(names):
        raise refused("CSR_ERROR", f"the request has other names than its sender, which are {', '.join(names)}")


def _name_of(oid: x509.ObjectIdentifier) -> str:
    """Return what an extension is, by its usual name or its number."""
    return _KNOWN.get(oid, oid.dotted_string)


def _check_conditions(conditions: Sequence[Any], signer: str) -> None:
    for each in conditions:
        if each.type in {"Denied", "Failed"} and each.status == "True":
            reason = f"signer {signer}: {each.type.lower()}: {each.reason}: {each.message}"
            raise refused("CERT_GEN_ERROR", reason, Refusal.INTERNAL)


def _problem(found: Sequence[x509.Certificate], key: PublicKey, names: Sequence[str], now: datetime) -> str:
    """Say what is wrong with an answer; empty if nothing is, its roots aside."""
    if not found:
        return "it holds no certificate"
    certificate = found[0]
    if public_key(certificate.public_key()) != key:
        return "it is for another key"
    if is_authority(certificate):
        return "it is that of a certificate authority"
    try:
        stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "it has no names"
    if sorted(str(each.value) for each in stated) != sorted(names):
        return f"it has other names than {', '.join(names)}"
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        return "it has ended, or has not begun"
    return ""
