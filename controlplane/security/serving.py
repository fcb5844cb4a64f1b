"""The control plane's own certificate, and the TLS of its ports."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.model.certificate_text import extension
from controlplane.security.ca import Authority, utc_now
from controlplane.security.certificates import encode, encode_key
from controlplane.security.tls_records import CountedRecords

log = structlog.get_logger(__name__)

_LIFETIME = timedelta(days=1)


def serving_names(
    namespace: str, discovery_address: str = "", revision: str = "", further: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the names by which proxies call the control plane, sorted.

    ``discovery_address`` is that of the mesh configuration, with or without a port; ``further`` are DNS names or
    IP addresses.
    """
    names = {f"{service}.{namespace}.svc" for service in ("istiod", "istiod-remote", "istio-pilot")}
    if revision not in {"", "default"}:
        names.add(f"istiod-{revision}.{namespace}.svc")
    host = discovery_address.rpartition(":")[0] if ":" in discovery_address else discovery_address
    return tuple(sorted({*names, *further, *([host.strip("[]")] if host else [])}))


class Shown(NamedTuple):
    """What a port shows: key and chain as PEM (never logged), the certificate of both, and the roots that it trusts."""

    pem: bytes
    certificate: x509.Certificate
    bundle: str

    def __repr__(self) -> str:
        return f"Shown({self.certificate.subject.rfc4514_string()})"


class ServingSource(Protocol):
    """What says which certificate the ports show, and whom they trust."""

    async def prepare(self) -> None:
        """Do what takes time, if anything is due, so that ``current`` can answer at once; it raises the same."""

    def current(self) -> Shown:
        """Return it: the same object as the last time unless something has changed.

        Raises:
            CallRefused: a new certificate is due and cannot be signed.
            InvalidServingError: what there is cannot be shown.
            SourceUnavailableError: it cannot be read.
        """


class SignedHere:
    """Certificates of our own authority, renewed at half their life, or if names, signer or roots have changed.

    ``names`` is asked each time.
    """

    def __init__(
        self, authority: Authority, names: Callable[[], Sequence[str]], clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._authority = authority
        self._names = names
        self._clock = clock
        self._made_of: tuple[object, ...] = ()
        self._shown: Shown | None = None

    async def prepare(self) -> None:
        """Nothing takes time."""

    def current(self) -> Shown:
        """Return what is shown, signed anew if that is due."""
        authority, now = self._authority, self._clock()
        names = tuple(self._names())
        made_of = (names, authority.issuer, authority.bundle)
        if made_of == self._made_of and self._shown is not None:
            certificate = self._shown.certificate
            life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
            if certificate.not_valid_before_utc <= now < certificate.not_valid_before_utc + life / 2:
                return self._shown  # one from the future was made before the clock was set back
        key = ec.generate_private_key(ec.SECP256R1())
        chain = authority.sign(key.public_key(), names, _LIFETIME)
        self._shown = Shown(encode_key(key) + encode(chain).encode(), chain[0], authority.bundle)
        self._made_of = made_of
        return self._shown


class ServingTls:
    """Contexts for TLS ports that show what their source says.

    What a context shows is decided for each new connection, so one that was given to a server long ago shows the
    newest certificate and trusts the newest roots, while the connections it has live on.
    """

    def __init__(self, source: ServingSource) -> None:
        """Show what the source says, which has been prepared."""
        self._source = source
        self._shown: Shown | None = None
        self._grpc, self._https = _grpc_context(), _https_context()
        self.update()

    @property
    def certificate(self) -> x509.Certificate | None:
        """What new connections are shown."""
        return self._shown.certificate if self._shown is not None else None

    @property
    def bundle(self) -> str:
        """The roots that clients' certificates are checked against (PEM)."""
        return self._shown.bundle if self._shown is not None else ""

    def grpc_context(self) -> ssl.SSLContext:
        """Return a new context for a gRPC port, which verifies a client's certificate if it shows one."""
        return self._following(lambda: self._grpc, _grpc_context())

    def https_context(self) -> ssl.SSLContext:
        """Return a new context for an HTTP/1.1 port, which asks for no certificate."""
        return self._following(lambda: self._https, _https_context())

    @staticmethod
    def _following(current: Callable[[], ssl.SSLContext], context: ssl.SSLContext) -> ssl.SSLContext:
        def newest(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = current()

        context.sni_callback = newest
        return context

    async def prepare(self) -> None:
        """Have the source get what it will show. It raises what the source raises; what is shown stays then."""
        await self._source.prepare()

    def update(self) -> bool:
        """Show what the source says now; return whether that is something new. It raises what the source raises."""
        shown = self._source.current()
        if shown is self._shown:
            return False
        grpc, https = _grpc_context(), _https_context()
        grpc.load_verify_locations(cadata=shown.bundle)
        for context in (grpc, https):
            _load(context, shown.pem)
        self._grpc, self._https, self._shown = grpc, https, shown
        certificate = shown.certificate
        ends = certificate.not_valid_after_utc.isoformat(timespec="seconds")
        log.info("security.serving_certificate", names=_names(certificate), ends=ends)
        return True


def _names(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and addresses of a certificate."""
    return [str(name.value) for name in extension(certificate, x509.SubjectAlternativeName) or ()]


def _https_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = CountedRecords
    context.options |= ssl.OP_NO_TICKET  # a resumed session would not verify its client's certificate again
    context.num_tickets = 0
    return context


def _grpc_context() -> ssl.SSLContext:
    context = _https_context()
    context.set_alpn_protocols(["h2"])
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Load a key and chain through a file that only this process sees: ``ssl`` takes them from nowhere else."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
