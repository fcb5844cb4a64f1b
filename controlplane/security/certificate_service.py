"""``istio.v1.auth.IstioCertificateService``: agents send a request for a certificate and get one for who they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from google.protobuf.message import DecodeError

from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest, IstioCertificateResponse
from controlplane.security.authentication import Authenticator, Call, Caller
from controlplane.security.observer import SecurityObserver
from controlplane.security.refusal import CallRefused, NamesRefused, Refusal
from controlplane.security.signing import CSR_ERROR, Signer, Wanted

log = structlog.get_logger(__name__)

CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
_IMPERSONATED = "ImpersonatedIdentity"
_SIGNER = "CertSigner"


MaySign = Callable[[Caller, Call], Awaitable[None]]


class CertificateService:
    """The service, free of its transport: bytes in, bytes out."""

    def __init__(
        self,
        authenticator: Authenticator,
        signer: Signer,
        observer: SecurityObserver | None = None,
        may_sign: MaySign | None = None,
    ) -> None:
        """``may_sign`` is asked before anything is signed: it returns when that may be, or raises ``CallRefused``."""
        self._authenticator = authenticator
        self._signer = signer
        self._observer = observer or SecurityObserver()
        self._may_sign = may_sign

    async def create_certificate(self, request: bytes, call: Call) -> bytes:
        """Answer one call: an ``IstioCertificateRequest`` with an ``IstioCertificateResponse``.

        Raises:
            CallRefused: the caller is not identified, asks for somebody else's certificate, or for one that cannot be
                signed.
        """
        self._observer.requested()
        try:
            caller = await self._authenticator.authenticate(call)
        except CallRefused as refused:
            self._observer.unauthenticated()
            log.info("security.caller_refused", peer=call.peer, reason=str(refused))
            raise CallRefused(refused.kind, f"request authenticate failure: {refused}") from refused
        try:
            message = IstioCertificateRequest.FromString(request)
        except DecodeError as error:
            self._observer.not_read()
            raise CallRefused(Refusal.INVALID, f"the request is not an IstioCertificateRequest: {error}") from error
        if message.metadata.fields[_IMPERSONATED].string_value:
            self._observer.unauthenticated()
            raise CallRefused(
                Refusal.UNAUTHENTICATED,
                f"request impersonation authentication failure: {caller.identity} may not ask for somebody else",
            )
        if self._may_sign is not None:
            await self._may_sign(caller, call)
        lifetime = _seconds(message.validity_duration) if message.validity_duration > 0 else None
        try:
            signer = message.metadata.fields[_SIGNER].string_value
            chain = await self._signer.chain(Wanted(message.csr, [str(caller.identity)], lifetime, signer))
        except CallRefused as refused:
            self._refused(refused)
            log.warning("security.csr_refused", identity=str(caller.identity), peer=call.peer, reason=str(refused))
            raise
        self._observer.signed()
        log.info("security.certificate_signed", identity=str(caller.identity), by=caller.method.value, peer=call.peer)
        return IstioCertificateResponse(cert_chain=chain).SerializeToString()

    def _refused(self, refused: CallRefused) -> None:
        error = str(refused).partition(")")[0].rpartition("(")[2]
        self._observer.not_signed(error)
        if isinstance(refused, NamesRefused):
            self._observer.not_its_own()
        elif error == CSR_ERROR:
            self._observer.not_read()


def _seconds(number: int) -> timedelta:
    """Return a duration; one that no date could hold is the longest there is, and refused as such."""
    return timedelta(seconds=min(number, timedelta.max // timedelta(seconds=1)))
