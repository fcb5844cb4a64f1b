"""Fetches bytes by HTTP: redirections, attempts, and addresses that are never asked."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from urllib.parse import SplitResult, urljoin, urlsplit

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.control_plane import system_roots
from controlplane.agent.environment import Environment, StartError
from controlplane.agent.http.client import NoAnswerError, Reply, Request, ask
from controlplane.backoff import Backoff
from controlplane.surroundings import METADATA, Network, is_among, is_own, reached

_PORTS = {"http": 80, "https": 443}
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTIONS = 5
LARGEST = 256 << 20
"""Bytes of a module, where nothing else is said."""
AROUND = 1 << 20
"""Bytes of what a module comes in, beside it, and of what leads to it."""
_LARGEST_VARIABLE = "ISTIO_WASM_MAX_BINARY_SIZE_BYTES"


class FetchError(Exception):
    """Something cannot be fetched; the text says what, from where and why."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How servers are asked. ``insecure`` are hosts whose certificates are not verified, ``*`` all.

    ``timeout`` is that of one attempt, ``attempts`` how many there are after the first. ``blocked`` are networks that
    nobody is asked in, beside those that are link-local or a cloud's own. ``largest`` are the bytes of a module.
    """

    timeout: timedelta = timedelta(seconds=15)
    attempts: int = 5
    insecure: frozenset[str] = frozenset()
    blocked: tuple[Network, ...] = ()
    first_pause: float = 0.5
    largest: int = LARGEST

    @classmethod
    def of(cls, environment: Environment) -> Rules:
        """Read Istio's variables. Raises ``StartError``."""
        blocked = []
        for text in _words(environment.text("BLOCKED_CIDRS_IN_WASM_FETCH")):
            try:
                blocked.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise StartError(f"BLOCKED_CIDRS_IN_WASM_FETCH: {text!r} is no network such as 10.0.0.0/8") from None
        largest = environment.number(_LARGEST_VARIABLE, LARGEST)
        if largest <= 0:
            raise StartError(f"{_LARGEST_VARIABLE}: {largest} is not a number of bytes above 0")
        return cls(
            environment.duration("WASM_HTTP_REQUEST_TIMEOUT", timedelta(seconds=15)),
            environment.number("WASM_HTTP_REQUEST_MAX_RETRIES", 5),
            frozenset(_words(environment.text("WASM_INSECURE_REGISTRIES"))),
            tuple(blocked),
            largest=largest,
        )

    @property
    def largest_answer(self) -> int:
        """The bytes of an answer: a module, and what is around it."""
        return self.largest + AROUND

    def is_insecure(self, host: str) -> bool:
        """Whether the certificate of a server (``host`` or ``host:port``) is not looked at."""
        return bool(self.insecure & {"*", host, host.partition(":")[0]})


def split(url: str) -> SplitResult:
    """Return the parts of a URL that somebody has sent. Raises ``FetchError``."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise FetchError(f"{url!r} is no URL: {error}") from None


def _joined(base: str, target: str) -> str:
    try:
        return urljoin(base, target)
    except ValueError as error:
        raise FetchError(f"{target!r}, to which {base} leads, is no URL: {error}") from None


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


@dataclass(slots=True)
class Fetcher:
    """Asks servers, by rules."""

    rules: Rules = field(default_factory=Rules)

    async def get(self, url: str, headers: Mapping[str, str] | None = None, named_by: str = "") -> bytes:
        """Return the body of a good answer (200). Raises ``FetchError``."""
        reply = await self.reply(url, headers, named_by)
        if reply.status != 200:  # noqa: PLR2004
            raise FetchError(f"{url} was answered with {reply.status}")
        return reply.body

    async def reply(self, url: str, headers: Mapping[str, str] | None = None, named_by: str = "") -> Reply:
        """Return the answer, whatever it is but a failure of the server; redirections are followed.

        ``named_by`` is the URL of a server that has named this one, as a redirection would; empty where the user has.

        Raises:
            FetchError: there is none, or it is too large.
        """
        backoff = Backoff(self.rules.first_pause, 10.0)
        while True:
            try:
                reply = await self._followed(url, dict(headers or {}), named_by)
            except NoAnswerError as error:
                problem = str(error)
            else:
                if reply.cut:
                    raise FetchError(f"{url} has more than {self.rules.largest_answer:,} bytes")
                if reply.status < 500:  # noqa: PLR2004
                    return reply
                problem = f"it was answered with {reply.status}"
            pause = backoff.pause()
            if backoff.failures > self.rules.attempts:
                raise FetchError(f"{url}: {problem}")
            await asyncio.sleep(pause)

    async def _followed(self, url: str, headers: dict[str, str], named_by: str) -> Reply:
        server, own = ("", ""), True  # of this machine may be who is named first, and whom only such have named
        if named_by:
            own = is_own(reached((await self._place(named_by, own=True)).host))
        for _ in range(_MOST_REDIRECTIONS):
            parts = split(url)
            if server not in {("", ""), parts[:2]}:
                headers.pop("Authorization", None)  # it is for the first server alone, and not in plaintext
            server = (parts.scheme, parts.netloc)
            place = await self._place(url, own=own)
            own = is_own(reached(place.host))
            reply = await self._ask(url, headers, place)
            if reply.status not in _REDIRECTED:
                return replace(reply, url=url)
            url = _joined(url, reply.headers.get("location", ""))
        raise FetchError(f"{url}: there are more than {_MOST_REDIRECTIONS} redirections")

    async def _place(self, url: str, *, own: bool) -> TcpAddress:
        """Return where a URL leads, which may be this machine if ``own`` says so. Raises ``FetchError``."""
        parts = split(url)
        try:
            port = parts.port or _PORTS[parts.scheme]
        except (KeyError, ValueError):
            raise FetchError(f"{url!r} is no address of http or https") from None
        if not parts.hostname:
            raise FetchError(f"{url!r} names no server")
        return TcpAddress(await self._allowed(parts.hostname, port, own=own), port)

    async def _ask(self, url: str, headers: Mapping[str, str], place: TcpAddress) -> Reply:
        parts = split(url)
        sent = tuple({"Host": parts.netloc.rpartition("@")[2], "User-Agent": "controlplane-agent", **headers}.items())
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = Request(place, target, "GET", sent, self.rules.timeout, self.rules.largest_answer)
        if parts.scheme == "https":
            request = replace(request, tls=self._tls(parts.netloc), server_name=parts.hostname)
        return await ask(request)

    def _tls(self, host: str) -> ssl.SSLContext:
        if self.rules.is_insecure(host):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context
        try:
            return ssl.create_default_context(cafile=str(system_roots()))
        except (StartError, ssl.SSLError, OSError) as error:
            raise FetchError(f"https://{host}: {error}") from None

    async def _allowed(self, host: str, port: int, *, own: bool) -> str:
        """Return the address of a server, which is asked by that: another answer of a name server counts no more."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NoAnswerError(f"{host}: {error.strerror or error}") from None
        for *_, place in found:
            address = reached(str(place[0]))
            if is_own(address) and not own:
                raise FetchError(f"{host}: a redirection to this machine, {address}, is not followed")
            if address.is_link_local or is_among(address, (*METADATA, *self.rules.blocked)):
                raise FetchError(f"{host}: the address {address} is not asked for modules")
        return str(found[0][-1][0])
