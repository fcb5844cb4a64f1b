"""The workload's certificate: asked for as soon as the agent starts, and anew long before it ends.

In: who signs, and the identity to ask for. Out: a ``WorkloadIdentity``, again after each renewal. What may go wrong is
tried again for ever with growing pauses, each with a random part; meanwhile the certificate that there is stays.
Reference: ``istio.v1.auth.IstioCertificateService``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import structlog

from controlplane.agent.control_plane import Peer, UnreachableError
from controlplane.agent.environment import Environment
from controlplane.agent.identity import WorkloadIdentity
from controlplane.agent.keys import KeyPolicy, encoded, new_key, signing_request
from controlplane.agent.metrics import CERTIFICATE_EXPIRY, CERTIFICATE_FAILURES, CERTIFICATES
from controlplane.backoff import Backoff
from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest, IstioCertificateResponse
from controlplane.model.certificate_text import certified_key, first

CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 60.0
_CALL_SECONDS = 10.0
_SOONEST = 1.0
_LONGEST_SLEEP = 3600.0  # a machine that slept, or whose clock was set, looks again
_FEWEST_ELEMENTS = 2  # a certificate and the roots

log = structlog.get_logger(__name__)


class NotSignedError(Exception):
    """A certificate was asked for and not had; the text says why."""


@dataclass(frozen=True, slots=True)
class RenewalPolicy:
    """How long certificates are to live and when they are renewed.

    A certificate is renewed when the share ``ratio`` of its time is left, give or take ``jitter`` at random, so that
    proxies that started together do not come together.
    """

    lifetime: timedelta = timedelta(hours=24)
    ratio: float = 0.5
    jitter: float = 0.01

    @classmethod
    def of(cls, environment: Environment) -> RenewalPolicy:
        """Read what was said. Raises ``StartError``."""
        return cls(
            environment.duration("SECRET_TTL", timedelta(hours=24)),
            environment.fraction("SECRET_GRACE_PERIOD_RATIO", 0.5),
            environment.fraction("SECRET_GRACE_PERIOD_RATIO_JITTER", 0.01),
        )

    def renew_at(self, received: datetime, expires: datetime) -> datetime:
        """Return when a certificate that came then and ends then is renewed."""
        share = min(max(self.ratio + random.uniform(-self.jitter, self.jitter), 0.0), 1.0)  # noqa: S311 - no secret
        return expires - share * (expires - received)


class CertificateClient:
    """Asks the authority for certificates of one identity, each with a new key."""

    def __init__(
        self, peer: Peer, spiffe_id: str, keys: KeyPolicy, lifetime: timedelta, *, signer: str | None = None
    ) -> None:
        """``signer`` names one of several signers that the control plane may have."""
        self._peer = peer
        self._spiffe_id = spiffe_id
        self._keys = keys
        self._lifetime = lifetime
        self._signer = signer or ""

    async def identity(self) -> WorkloadIdentity:
        """Make a key and have it certified. Raises ``NotSignedError``."""
        key = await asyncio.to_thread(new_key, self._keys)
        chain = await self._signed(signing_request(key, self._spiffe_id))
        try:
            certified = certified_key(first(chain[0].encode()))
        except ValueError as error:
            raise NotSignedError(
                f"the answer of {self._peer.address} is no certificate that can be read: {error}"
            ) from None
        if certified != key.public_key():
            raise NotSignedError(f"the answer of {self._peer.address} certifies another key")
        joined = "".join(part if part.endswith("\n") else part + "\n" for part in chain).encode()
        return WorkloadIdentity(self._spiffe_id, joined, encoded(key, self._keys), chain[-1].encode())

    async def _signed(self, csr: str) -> Sequence[str]:
        request = IstioCertificateRequest(csr=csr, validity_duration=int(self._lifetime.total_seconds()))
        request.metadata.fields["CertSigner"].string_value = self._signer
        where = self._peer.address
        try:
            async with self._peer.channel() as channel:
                call = channel.unary_unary(
                    CREATE_CERTIFICATE, IstioCertificateRequest.SerializeToString, IstioCertificateResponse.FromString
                )
                answer = await call(request, metadata=self._peer.metadata(), timeout=_CALL_SECONDS)
        except UnreachableError as error:
            raise NotSignedError(str(error)) from None
        except grpc.aio.AioRpcError as error:
            raise NotSignedError(f"{where}: {error.code().name}: {error.details()}") from None
        if len(answer.cert_chain) < _FEWEST_ELEMENTS:
            raise NotSignedError(f"{where} answered without certificate and root")
        return list(answer.cert_chain)


class WorkloadCertificate:
    """Keeps an identity valid: ``current`` is the newest, and whoever listens is told of each new one."""

    def __init__(self, client: CertificateClient, policy: RenewalPolicy) -> None:
        self._client = client
        self._policy = policy
        self._listeners: list[Callable[[WorkloadIdentity], None]] = []
        self._wake = asyncio.Event()
        self.current: WorkloadIdentity | None = None

    def on_change(self, listener: Callable[[WorkloadIdentity], None]) -> None:
        """Tell a listener of each identity from now on."""
        self._listeners.append(listener)

    def renew_now(self) -> None:
        """Ask for a new certificate at once."""
        self._wake.set()

    async def run(self) -> None:
        """Ask, and ask again in time, until cancelled."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            self._wake.clear()
            try:
                identity = await self._client.identity()
            except NotSignedError as error:
                CERTIFICATE_FAILURES.inc()
                pause = backoff.pause()
                log.warning("agent.certificate_missing", reason=str(error), again_in=round(pause, 1))
                await self._sleep(pause)
                continue
            backoff.reset()
            self.current = identity
            CERTIFICATES.inc()
            CERTIFICATE_EXPIRY.set(expiry(identity).timestamp())
            renewal = self._policy.renew_at(datetime.now(UTC), expiry(identity))
            log.info(
                "agent.certificate_received",
                identity=identity.spiffe_id,
                expires=expiry(identity).isoformat(),
                renewal=renewal.isoformat(timespec="seconds"),
            )
            for listener in self._listeners:
                listener(identity)
            await self._sleep(_SOONEST)
            while (left := (renewal - datetime.now(UTC)).total_seconds()) > 0 and not self._wake.is_set():
                await self._sleep(min(left, _LONGEST_SLEEP))

    async def _sleep(self, seconds: float) -> None:
        """Wait, or until somebody asks for a new certificate."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return


def expiry(identity: WorkloadIdentity) -> datetime:
    """Return when the certificate ends."""
    return first(identity.certificate_chain).not_valid_after_utc
