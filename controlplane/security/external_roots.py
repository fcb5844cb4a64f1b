"""The roots of signers outside: a file, and those that the mesh configuration states for a signer by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography import x509

from controlplane.model.certificate_text import decode
from controlplane.security.issuer import InvalidIssuerError, Issuer
from controlplane.security.sources import IssuerSource, SourceUnavailableError

Stated = Iterable[tuple[Sequence[str], str]]
"""Of each entry of ``caCertificates`` the signers it is for (none: for all) and its PEM."""


class ExternalRoots:
    """Roots of other signers, read anew each time; a ``file`` that does not exist holds none."""

    def __init__(self, file: Path, stated: Callable[[], Stated]) -> None:
        self._file = file
        self._stated = stated

    def of(self, signer: str) -> tuple[x509.Certificate, ...]:
        """Return those that certificates of a signer may lead to; see ``read``."""
        return tuple(root for signers, root in self._entries() if not signers or signer in signers)

    def read(self) -> tuple[x509.Certificate, ...]:
        """Return all, each once.

        Raises:
            InvalidIssuerError: something is no certificate; the message says where.
            SourceUnavailableError: the file cannot be read.
        """
        return tuple(dict.fromkeys(root for _, root in self._entries()))

    def _entries(self) -> Iterable[tuple[Sequence[str], x509.Certificate]]:
        try:
            pem = self._file.read_bytes() if self._file.exists() else b""
        except OSError as error:
            raise SourceUnavailableError(f"{self._file}: {error.strerror}") from error
        yield from (((), root) for root in _decoded(pem, str(self._file)))
        for index, (signers, text) in enumerate(self._stated()):
            place = f"mesh configuration, caCertificates[{index}].pem"
            yield from ((signers, root) for root in _decoded(text.encode(), place))


class WithRoots:
    """An ``IssuerSource`` that wants the roots of other signers trusted beside its own."""

    def __init__(self, source: IssuerSource, further: ExternalRoots) -> None:
        self._source = source
        self._further = further

    async def read(self) -> Issuer:
        """Return the issuer with all roots; it raises what either of the two raises."""
        issuer = await self._source.read()
        return replace(issuer, roots=tuple(dict.fromkeys((*issuer.roots, *self._further.read()))))


def _decoded(pem: bytes, place: str) -> tuple[x509.Certificate, ...]:
    try:
        return decode(pem)
    except ValueError as error:
        raise InvalidIssuerError(f"{place}: is no list of certificates in PEM") from error
