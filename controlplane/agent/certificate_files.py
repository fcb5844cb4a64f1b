"""Certificates that somebody else puts into files: read, checked as pairs, and looked at again for changes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.agent.control_plane import system_roots
from controlplane.agent.environment import StartError
from controlplane.model.certificate_text import certified_key, first, revoked

log = structlog.get_logger(__name__)

CERTIFICATE_PREFIX, ROOT_PREFIX = "file-cert:", "file-root:"
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
Signature = tuple[tuple[int, int, int] | None, ...]


class UnusableFileError(Exception):
    """A file is missing or holds no certificate that can be used; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """A certificate chain and its key."""

    chain: Path
    key: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return (self.chain, self.key)

    def secret(self, name: str) -> Secret:
        """Return the pair. Raises ``UnusableFileError``: a half-written or mismatched pair is no pair."""
        chain, key = _content(self.chain), _content(self.key)
        try:
            public = load_pem_private_key(key, None).public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnusableFileError(f"{self.key} holds no private key: {error}") from None
        try:
            certified = certified_key(first(chain))
        except ValueError as error:
            raise UnusableFileError(f"{self.chain} holds no certificate: {error}") from None
        if certified != public:
            raise UnusableFileError(f"the key in {self.key} is not that of the certificate in {self.chain}")
        secret = Secret(name=name)
        secret.tls_certificate.certificate_chain.inline_bytes = chain
        secret.tls_certificate.private_key.inline_bytes = key
        return secret


@dataclass(frozen=True, slots=True)
class RootFile:
    """Roots that are trusted."""

    path: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return (self.path,)

    def secret(self, name: str) -> Secret:
        """Return the roots; what is no certificate among them is left out. Raises ``UnusableFileError``."""
        secret = Secret(name=name)
        secret.validation_context.trusted_ca.inline_bytes = b"".join(self.certificates())
        return secret

    def certificates(self) -> list[bytes]:
        """Return each certificate (PEM). Raises ``UnusableFileError`` where there is none."""
        found = [each for each in certificates_of(_content(self.path)) if _is_certificate(each)]
        if not found:
            raise UnusableFileError(f"{self.path} holds no certificate")
        return found


class RevokedFile:
    """Lists of revoked certificates in a file that may come and go.

    What is no list, or cannot be read, leaves those there were, and is told in the log once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: bytes | str = b""
        self._good = b""

    def lists(self) -> bytes:
        """Return the lists (PEM), empty where there are none."""
        try:
            content = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            content = b""
        except OSError as error:
            reason = f"{self.path} cannot be read: {error.strerror}"
            if reason != self._seen:
                self._seen = reason
                log.warning("agent.file_unusable", name="revoked certificates", reason=reason)
            return self._good
        if content != self._seen:
            self._seen = content
            if problem := _problem_of_lists(content):
                log.warning("agent.file_unusable", name="revoked certificates", reason=f"{self.path}: {problem}")
            else:
                self._good = content if content.strip() else b""
        return self._good


def _problem_of_lists(pem: bytes) -> str:
    """Return why a text is not made of lists of revoked certificates, empty where it is."""
    try:
        revoked(pem)
    except ValueError as error:
        return str(error)
    return ""


Files = PairFiles | RootFile


def named_files(name: str) -> Files | None:
    """Return the files that a secret's name asks for: ``file-cert:CHAIN~KEY``, ``file-root:PATH``; else nothing."""
    if name.startswith(CERTIFICATE_PREFIX):
        chain, tilde, key = name.removeprefix(CERTIFICATE_PREFIX).partition("~")
        return PairFiles(Path(chain), Path(key)) if tilde and chain and key else None
    if name.startswith(ROOT_PREFIX):
        path = name.removeprefix(ROOT_PREFIX)
        if path == "system":
            try:
                return RootFile(system_roots())
            except StartError:
                return None
        return RootFile(Path(path)) if path else None
    return None


def signature(files: Files) -> Signature:
    """Return what tells one state of the files from another; the kubelet swaps links, others write in place."""
    return tuple(map(_state, files.paths))


def certificates_of(pem: bytes) -> list[bytes]:
    """Return each block of a PEM text, ended by a line break."""
    blocks = (part.partition(_BEGIN)[2] for part in pem.split(_END)[:-1])
    return [_BEGIN + block + _END + b"\n" for block in blocks if block]


def _is_certificate(pem: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what old roots of the system do that nobody may any more
            first(pem)
    except ValueError:
        return False
    return True


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableFileError(f"{path} cannot be read: {error.strerror}") from None
