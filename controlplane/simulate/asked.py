"""What a user asks about: one request, as a URL with method and headers, and from where."""

from __future__ import annotations

import re  # noqa: TID251 - texts of who asks
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, urlsplit

from controlplane.documents.words import is_ip

_PORTS = {"http": 80, "https": 443, "tls": 443, "grpc": 80}


class BadRequestError(Exception):
    """A request that cannot be asked about; ``str()`` is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``url`` is ``http://``, ``https://``, ``tcp://host:port`` or ``tls://host``.

    ``identity`` is the SPIFFE id or ``sa/NAMESPACE/NAME`` of whom it comes from, empty for the proxy's own; ``source``
    the address that it comes from, empty for the proxy's (at a gateway: one outside).
    """

    origin: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    source: str = ""

    @classmethod
    def of(cls, origin: str, method: str, url: str, headers: Mapping[str, str], **rest: str) -> Self:
        """Make one whose URL can be read.

        Raises:
            BadRequestError: it cannot.
        """
        found = cls(origin, method, url, {name.lower(): value for name, value in headers.items()}, **rest)
        found.parts()
        if not _METHOD.fullmatch(method):
            raise BadRequestError(f"{method!r} is no method, such as GET")
        checked_identity(found.identity)
        checked_source(found.source)
        return found

    def parts(self) -> SplitResult:
        """Return the URL in parts.

        Raises:
            BadRequestError: it has no host or port, or another scheme.
        """
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise BadRequestError(f"{self.url!r} is no URL: {error}") from error
        if parts.scheme not in {*_PORTS, "tcp"}:
            raise BadRequestError(f"{self.url!r} begins with none of http://, https://, tcp:// and tls://")
        if not parts.hostname or (port is None and parts.scheme not in _PORTS):
            raise BadRequestError(f"{self.url!r} has no {'host' if not parts.hostname else 'port'}")
        if port == 0:
            raise BadRequestError(f"{self.url!r} has a port that is none")
        return parts

    @property
    def host(self) -> str:
        """The name that the client asks DNS for."""
        return self.parts().hostname or ""

    @property
    def port(self) -> int:
        """The port that the client calls."""
        parts = self.parts()
        return parts.port or _PORTS[parts.scheme]

    @property
    def http(self) -> bool:
        """Whether it is an HTTP request, perhaps inside TLS."""
        return self.parts().scheme in {"http", "https", "grpc"}

    @property
    def tls(self) -> bool:
        """Whether the client begins TLS."""
        return self.parts().scheme in {"https", "tls"}

    @property
    def authority(self) -> str:
        """The ``Host`` header: the stated one, else host and port of the URL as they are written."""
        stated = self.headers.get("host", "")
        return stated or self.parts().netloc.rpartition("@")[2]

    @property
    def path(self) -> str:
        """Path and query."""
        parts = self.parts()
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


METHODS = (
    *("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"),
    *("PURGE", "QUERY", "SEARCH", "REPORT", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"),
)
"""Those that are usual: of RFC 9110 and 5789, caches and WebDAV; HTTP takes any word."""
_METHOD = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_IDENTITY = re.compile(r"sa/[a-z0-9][-a-z0-9]*/[a-z0-9][-.a-z0-9]*|spiffe://[^/\s]+/\S+")


def checked_identity(text: str) -> None:
    """Take an identity, or an empty text.

    Raises:
        BadRequestError: it is none.
    """
    if text and not _IDENTITY.fullmatch(text):
        raise BadRequestError(f"{text!r} is neither sa/NAMESPACE/NAME nor spiffe://DOMAIN/...")


def checked_source(text: str) -> None:
    """Take an address, or an empty text.

    Raises:
        BadRequestError: it is none.
    """
    if text and not is_ip(text):
        raise BadRequestError(f"{text!r} is no IP address, such as 10.0.0.7")
