"""The certificate of the ports where a signer of Kubernetes signs it: istiod's ``PILOT_CERT_PROVIDER=k8s.io/...``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.security.ca import utc_now
from controlplane.security.certificates import encode, encode_key, general_name
from controlplane.security.kubernetes_signer import SignerRoots
from controlplane.security.serving import Shown
from controlplane.security.signer_answer import Expected, checked_answer
from controlplane.security.signing_requests import SigningRequest, SigningRequests
from controlplane.security.sources import SourceUnavailableError

_LIFETIME = timedelta(days=1)
_LONGEST = timedelta(days=3650)
"""Signers may have a lifetime of their own; this is what istiod asks for."""
_APPROVED = ("ControlPlane", "These are the names by which proxies and the API server call the mesh's control plane.")


class SignedOutside:
    """A certificate of a signer outside, renewed at half its life, or if names have changed, or its root is no more.

    The key is made here and stays in memory. ``names`` is asked each time.
    """

    def __init__(
        self,
        requests: SigningRequests,
        signer: str,
        roots: SignerRoots,
        names: Callable[[], Sequence[str]],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._requests = requests
        self._signer = signer
        self._roots = roots
        self._names = names
        self._clock = clock
        self._made_of: tuple[object, ...] = ()
        self._shown: Shown | None = None

    def current(self) -> Shown:
        """Return what ``prepare`` has got, and whom the ports trust now.

        Raises:
            SourceUnavailableError: nothing was signed yet.
        """
        if self._shown is None:
            raise SourceUnavailableError(f"signer {self._signer} has not signed yet")
        if self._shown.bundle != self._roots.bundle:
            self._shown = self._shown._replace(bundle=self._roots.bundle)
        return self._shown

    async def prepare(self) -> None:
        """Have a new certificate signed if that is due.

        Raises:
            CallRefused: it is due and was not signed; the former one stays.
        """
        names, roots = tuple(self._names()), self._roots.of(self._signer)
        if (names, roots) == self._made_of and self._shown is not None:
            certificate, now = self._shown.certificate, self._clock()
            life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
            if certificate.not_valid_before_utc <= now < certificate.not_valid_before_utc + life / 2:
                return
        key = ec.generate_private_key(ec.SECP256R1())
        request = SigningRequest(_csr(key, names), self._signer, _LIFETIME, "istiod", *_APPROVED)
        answer = await self._requests.answer(request)
        expected = Expected(key.public_key(), names, _LONGEST, roots)
        chain = checked_answer(answer, expected, self._signer, self._clock())
        self._shown = Shown(encode_key(key) + encode(chain).encode(), chain[0], self._roots.bundle)
        self._made_of = (names, roots)


def _csr(key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> str:
    """Return a request (PEM) for these names and nothing else."""
    stated = x509.SubjectAlternativeName([general_name(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(stated, critical=True).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()
