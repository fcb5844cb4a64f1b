"""What an authority leaves to the next one, as files: who signs, and which roots are trusted since and until when.

A root may be replaced while no control plane runs, or together with a restart. Whoever starts then finds another root
than the mesh trusts, and can only go on signing under the old one if its key was kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from cryptography import x509

from controlplane.documents.json_reader import json_value
from controlplane.model.certificate_text import first
from controlplane.security.ca import Past
from controlplane.security.certificates import encode, encode_key
from controlplane.security.issuer import CA_CERTIFICATE, CA_KEY, CHAIN, ROOTS, InvalidIssuerError, Issuer
from controlplane.security.self_signed import Files

TRUST = "trust.json"
"""The file beside those of ``Issuer.of_files``: roots with their times."""


class Memory(Protocol):
    """Something that holds a ``Past``, for the next process and for other replicas."""

    async def read(self) -> Past | None:
        """Return what it holds; ``None`` if nothing was written, or nothing that can be used.

        Raises:
            SourceUnavailableError: it cannot be read.
        """

    async def write(self, past: Past) -> None:
        """Hold this; the same as at the last reading or writing causes no write, and who has written since wins.

        Raises:
            SourceUnavailableError: it cannot be written.
        """


def files_of(past: Past) -> Files:
    """Return the files of a past: equal pasts give equal bytes."""
    issuer = past.issuer
    between = [each for each in issuer.chain if each != issuer.certificate]
    trust = {
        "since": _times(past.since),
        "until": _times(past.until),
        "signedUntil": past.signed_until.isoformat() if past.signed_until is not None else None,
    }
    return {
        CA_CERTIFICATE: encode([issuer.certificate]).encode(),
        CA_KEY: encode_key(issuer.key),
        CHAIN: encode(between).encode(),
        ROOTS: encode(issuer.roots).encode(),
        TRUST: json.dumps(trust, sort_keys=True).encode(),
    }


def past_of(files: Files) -> Past:
    """Read what ``files_of`` wrote.

    Raises:
        InvalidIssuerError: the files hold something else.
    """
    try:
        issuer = Issuer.of_files({name: files[name] for name in (CA_CERTIFICATE, CA_KEY, CHAIN, ROOTS)})
        trust = json_value(files[TRUST])
        signed_until = trust["signedUntil"]
        since, until = _roots(trust["since"]), _roots(trust["until"])
        signed = _time(signed_until) if signed_until is not None else None
    except KeyError as error:
        raise InvalidIssuerError(f"{error.args[0]} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidIssuerError(f"{TRUST}: {error}") from error
    if issuer is None:
        raise InvalidIssuerError("has no issuer")
    return Past(issuer, since, until, signed)


def _times(roots: Mapping[x509.Certificate, datetime]) -> list[dict[str, str]]:
    found = [{"certificate": encode([root]), "at": at.isoformat()} for root, at in roots.items()]
    return sorted(found, key=lambda each: each["certificate"])


def _roots(entries: Iterable[Mapping[str, Any]]) -> dict[x509.Certificate, datetime]:
    return {first(each["certificate"].encode()): _time(each["at"]) for each in entries}


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time
