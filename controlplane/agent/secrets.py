"""What Envoy gets for the name of a secret: the workload's certificate, the mesh's roots, or what files hold.

``default`` is the workload's certificate and ``ROOTCA`` the roots. ``file-cert:CHAIN~KEY`` and ``file-root:PATH`` name
files. Any other name is answered with the workload's certificate, unless it says where it is from (``kubernetes://``):
such secrets come from the control plane. What is not there yet is answered when it comes, so
Envoy waits; a pair of files that is of no use leaves the last good one in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.agent.certificate_files import (
    CERTIFICATE_PREFIX,
    ROOT_PREFIX,
    Files,
    PairFiles,
    RevokedFile,
    RootFile,
    Signature,
    UnusableFileError,
    certificates_of,
    named_files,
    signature,
)
from controlplane.agent.identity import WorkloadIdentity
from controlplane.agent.metrics import CERTIFICATE_EXPIRY
from controlplane.model.certificate_text import first

CERTIFICATE = "default"
ROOT = "ROOTCA"
LOOK_AGAIN_SECONDS = 1.0
LOOK_AT_REVOKED_SECONDS = 30.0
QUIET_SECONDS = 0.1
_MOST_WAITS = 20  # for files that somebody writes again and again

log = structlog.get_logger(__name__)


class Secrets:
    """The secrets of one workload. ``crl`` is where revoked certificates are listed, which goes with all roots.

    ``pair`` and ``root`` are files that hold the workload's own certificate and roots instead of an authority's answer.
    Files that change are read once none has for ``quiet`` seconds: a chain and its key are written one after the other.
    """

    def __init__(  # noqa: PLR0913 - where secrets come from, and how often that is looked at
        self,
        identity: WorkloadIdentity | None = None,
        *,
        pair: PairFiles | None = None,
        root: RootFile | None = None,
        crl: Path | None = None,
        look_at_revoked: float = LOOK_AT_REVOKED_SECONDS,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self._quiet = quiet
        self._look_at_revoked = look_at_revoked
        self._identity = identity
        self._pair = pair
        self._root = root
        self._crl = RevokedFile(crl) if crl is not None else None
        self._further_roots: tuple[bytes, ...] = ()
        self._read: dict[str, tuple[Signature, Secret | None]] = {}
        self._listeners: set[Callable[[], None]] = set()
        self._asked = asyncio.Event()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a listener at every change; return what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def use(self, identity: WorkloadIdentity) -> None:
        """Have another identity from now on."""
        self._identity = identity
        self._tell()

    def trust(self, roots: Iterable[str]) -> bool:
        """Trust these roots too (PEM), which the control plane sent; return whether they are others than before."""
        further = tuple(each for text in roots for each in certificates_of(text.encode()))
        if further == self._further_roots:
            return False
        self._further_roots = further
        self._tell()
        return True

    def find(self, name: str) -> Secret | None:
        """Return the secret of a name, ``None`` while there is none."""
        files = self._files(name)
        if files is not None:
            secret = self._from_files(name, files)
        elif name == ROOT:
            secret = self._roots(self._identity.root_certificate) if self._identity is not None else None
        else:
            secret = self._certificate(name)
        if secret is not None and name == ROOT and files is not None:
            secret = self._roots(secret.validation_context.trusted_ca.inline_bytes)
        if secret is not None and secret.HasField("validation_context") and (revoked := self._revoked()):
            secret.validation_context.crl.inline_bytes = revoked
        return secret

    async def watch_revoked(self) -> None:
        """Look again and again whether other certificates are revoked, until cancelled."""
        before = self._revoked()
        while True:
            await asyncio.sleep(self._look_at_revoked)
            if before != (before := self._revoked()):
                log.info("agent.revocations_changed", bytes=len(before))
                self._tell()

    def _revoked(self) -> bytes:
        """Return the lists of revoked certificates, empty where there are none."""
        return self._crl.lists() if self._crl is not None else b""

    async def watch(self) -> None:
        """Look at the files that were asked for, again and again, until cancelled; nothing is done before that."""
        await self._asked.wait()
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            if any(self._changed(name) for name in self._read):
                await self._settled()
                self._tell()

    async def _settled(self) -> None:
        """Wait until nobody writes the files any more, but not for ever."""
        for _ in range(_MOST_WAITS):
            before = [self._state(name) for name in self._read]
            await asyncio.sleep(self._quiet)
            if before == [self._state(name) for name in self._read]:
                return

    def _changed(self, name: str) -> bool:
        return self._state(name) not in {None, self._read[name][0]}

    def _state(self, name: str) -> Signature | None:
        files = self._files(name)
        return signature(files) if files is not None else None

    def _files(self, name: str) -> Files | None:
        if self._root is not None and name == ROOT:
            return self._root
        if self._pair is not None and name == CERTIFICATE:
            return self._pair
        return named_files(name)

    def _from_files(self, name: str, files: Files) -> Secret | None:
        """Return what files hold; of files that are of no use now, what they held when they were."""
        self._asked.set()
        before = self._read.get(name)
        state = signature(files)
        if before is None or before[0] != state:
            held = before[1] if before is not None else None
            try:
                secret = self._better(name, files.secret(name), held)
            except UnusableFileError as error:
                log.warning("agent.file_unusable", name=name, reason=str(error))
                secret = held
            self._read[name] = (state, secret)
        kept = self._read[name][1]
        if kept is None:
            return None
        copy = Secret()
        copy.CopyFrom(kept)
        return copy

    def _better(self, name: str, read: Secret, held: Secret | None) -> Secret:
        """Return what was read, unless its certificate has ended and that of the former has not."""
        ends = _end(read)
        if ends is None:
            return read
        kept = held if ends <= utc_now() and held is not None and (_end(held) or ends) > utc_now() else None
        if ends <= utc_now():
            log.warning("agent.certificate_ended", name=name, ended=ends.isoformat(), former_kept=kept is not None)
        if name == CERTIFICATE and kept is None:
            CERTIFICATE_EXPIRY.set(ends.timestamp())
        return kept or read

    def _certificate(self, name: str) -> Secret | None:
        if self._identity is None or "://" in name or name.startswith((CERTIFICATE_PREFIX, ROOT_PREFIX)):
            return None
        secret = Secret(name=name)
        secret.tls_certificate.certificate_chain.inline_bytes = self._identity.certificate_chain
        secret.tls_certificate.private_key.inline_bytes = self._identity.private_key
        return secret

    def _roots(self, pem: bytes) -> Secret:
        """Return the mesh's roots, and those that the control plane added, each once."""
        if self._further_roots:
            pem = b"".join(sorted({*certificates_of(pem), *self._further_roots}))
        secret = Secret(name=ROOT)
        secret.validation_context.trusted_ca.inline_bytes = pem
        return secret

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()


def _end(secret: Secret) -> datetime | None:
    """Return when a key pair's certificate ends, ``None`` for roots."""
    chain = secret.tls_certificate.certificate_chain.inline_bytes
    return first(chain).not_valid_after_utc if chain else None


def utc_now() -> datetime:
    """Return the time by which certificates end."""
    return datetime.now(UTC)
