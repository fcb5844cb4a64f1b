"""CertificateSigningRequests of Kubernetes: each is made, approved here, waited for and removed again.

Who asks for one has made sure before that it has no more in it than it may have. Reference: Kubernetes, "Certificates
and Certificate Signing Requests".
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CertificatesV1Api

from controlplane.backoff import Backoff
from controlplane.security.refusal import Refusal
from controlplane.security.signing import refused

log = structlog.get_logger(__name__)

USAGES = ("digital signature", "key encipherment", "server auth", "client auth")
_SHORTEST = timedelta(minutes=10)
"""The API takes no request for less."""
_TIMEOUT_SECONDS = 10  # of one request to the API server
_PAUSES = (0.05, 2.0)


class SigningRequest(NamedTuple):
    """One request: ``csr`` is PEM, ``signer`` a full name, ``reason`` and ``message`` say why it is approved.

    ``subject`` says in a word for whom it is; the object's name has it.
    """

    csr: str
    signer: str
    lifetime: timedelta
    subject: str
    reason: str
    message: str


class SigningRequests:
    """The way to signers; ``patience`` is how long is waited for one answer."""

    def __init__(self, client: ApiClient, patience: timedelta) -> None:
        self._api = CertificatesV1Api(client)
        self._patience = patience

    async def answer(self, request: SigningRequest) -> bytes:
        """Return what the signer answers (PEM), unchecked. The object is removed again, whatever becomes of it.

        Raises:
            CallRefused: the API server or the signer refuses, is not reached, or says nothing.
        """
        name, signer = f"csr-{request.subject}-{secrets.token_hex(8)}", request.signer
        try:
            await self._create(name, request)
            try:
                await self._approve(name, request)
                return await self._signed(name, signer)
            finally:
                await self._remove(name)
        except ApiException as error:
            reason = f"signer {signer}: the API server refused: {error.status} {error.reason}"
            raise refused("CERT_GEN_ERROR", reason, Refusal.INTERNAL) from error
        except (ClientError, OSError) as error:
            reason = f"signer {signer}: the API server is not reached: {str(error) or type(error).__name__}"
            raise refused("CERT_GEN_ERROR", reason, Refusal.UNAVAILABLE) from error

    async def _create(self, name: str, request: SigningRequest) -> None:
        body = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(request.csr.encode()).decode(),
                "signerName": request.signer,
                "usages": USAGES,
                "expirationSeconds": int(max(request.lifetime, _SHORTEST).total_seconds()),
            },
        }
        await self._api.create_certificate_signing_request(body, _request_timeout=_TIMEOUT_SECONDS)

    async def _approve(self, name: str, request: SigningRequest) -> None:
        condition = {"type": "Approved", "status": "True", "reason": request.reason, "message": request.message}
        patch = {"status": {"conditions": [condition]}}
        await self._api.patch_certificate_signing_request_approval(
            name, patch, _content_type="application/merge-patch+json", _request_timeout=_TIMEOUT_SECONDS
        )

    async def _signed(self, name: str, signer: str) -> bytes:
        """Wait for the signer's answer (PEM)."""
        backoff = Backoff(*_PAUSES)
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                while True:
                    found = await self._api.read_certificate_signing_request(name, _request_timeout=_TIMEOUT_SECONDS)
                    if found.status.certificate:
                        return base64.b64decode(found.status.certificate)
                    _check_conditions(found.status.conditions or (), signer)
                    await asyncio.sleep(backoff.pause())
        except TimeoutError as error:
            reason = f"signer {signer}: no certificate after {self._patience.total_seconds():g} s"
            raise refused("CERT_GEN_ERROR", reason, Refusal.UNAVAILABLE) from error

    async def _remove(self, name: str) -> None:
        try:
            await self._api.delete_certificate_signing_request(name, _request_timeout=_TIMEOUT_SECONDS)
        except (ApiException, ClientError, OSError, TimeoutError) as error:
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
            log.warning("security.request_not_removed", name=name, reason=reason)  # Kubernetes does, in an hour


def _check_conditions(conditions: Sequence[Any], signer: str) -> None:
    for each in conditions:
        if each.type in {"Denied", "Failed"} and each.status == "True":
            reason = f"signer {signer}: {each.type.lower()}: {each.reason}: {each.message}"
            raise refused("CERT_GEN_ERROR", reason, Refusal.INTERNAL)
