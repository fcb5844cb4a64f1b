"""Fetches the keys that tokens are checked with, from the addresses that RequestAuthentications name.

In: where keys are wanted from. Out: one key set for each location, whenever it is another one than before. What may go
wrong: a server that is away, slow, endless or wrong, an address that is not to be asked. Each is tried again, later
each time; meanwhile the last good keys stay, and where there never were any nobody's token is believed.

Addresses are looked at when the connection is made, after each redirect too: users of the mesh choose them, and the
control plane reaches places that users do not.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

import aiohttp
import structlog

from controlplane.backoff import Backoff
from controlplane.documents.json_reader import json_value
from controlplane.documents.key_sets import EMPTY, key_set_problem
from controlplane.surroundings import METADATA, Network, is_among, is_own, reached

log = structlog.get_logger(__name__)

MAX_BYTES = 1024 * 1024
"""An answer beyond this size is refused."""
MAX_REDIRECTS = 5
AT_ONCE = 8
"""How many locations are asked at a time."""
DISCOVERY = "/.well-known/openid-configuration"
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 3600.0


class JwksLocation(NamedTuple):
    """Where keys are: at ``uri``, or (empty) where the discovery document of ``issuer`` says."""

    uri: str
    issuer: str = ""


Read = Callable[[aiohttp.ClientSession, JwksLocation], Awaitable[str]]
"""Fetches one location. It raises what ``_jwks`` does."""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses may be asked for keys: all but those of the control plane itself and of its surroundings.

    ``refused`` are further networks. Source: istiod's variable ``BLOCKED_CIDRS_IN_JWKS_URIS``.
    ``own`` allows addresses of this machine.
    """

    refused: tuple[Network, ...] = ()
    own: bool = False

    def problem(self, text: str) -> str:
        """Return why an address is not asked, empty where it is."""
        address = reached(text)
        if is_own(address) and not self.own:
            return "is this machine's"
        if address.is_link_local or address.is_multicast:
            return "is of the local network alone"
        if is_among(address, (*METADATA, *self.refused)):
            return "is in a range that is not asked for keys"
        return ""


def networks(text: str) -> tuple[Network, ...]:
    """Read networks that commas separate; one that cannot be read is logged and left out."""
    found: list[Network] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            log.warning("security.network_unreadable", network=part)
    return tuple(found)


class NoKeysError(Exception):
    """A location did not give keys; the message says why."""


_EXPECTED = (NoKeysError, aiohttp.ClientError, OSError, ValueError)


@dataclass(slots=True)
class _Known:
    """What is known of one location: its keys, when to ask again (by the loop's clock), and why there are none."""

    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_PAUSE, _LONGEST_PAUSE))
    jwks: str | None = None
    due: float = 0.0
    problem: str = ""


class JwksFetcher:
    """Keeps the keys of all wanted locations while ``run`` runs, which may be cancelled and run again."""

    def __init__(
        self,
        publish: Callable[[JwksLocation, str | None], None],
        *,
        rules: AddressRules | None = None,
        refresh: timedelta = timedelta(minutes=20),
        read: Read | None = None,
        answered: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Tell ``publish`` of each key set that is another one, and (``None``) of each that nobody wants any more.

        ``refresh`` is how often keys are asked for again; ``read`` makes of a location what is published, by default
        a JSON web key set. ``answered`` is told of each question whether it gave keys.
        """
        self._tell_answered = answered
        self._read = read or _jwks
        self._publish = publish
        self._rules = rules or AddressRules()
        self._refresh = refresh.total_seconds()
        self._wanted: Mapping[JwksLocation, timedelta] = {}
        self._known: dict[JwksLocation, _Known] = {}
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()

    @property
    def problems(self) -> tuple[tuple[JwksLocation, str], ...]:
        """The locations that gave no keys when they were asked last, and why, in order."""
        return tuple(sorted((location, held.problem) for location, held in self._known.items() if held.problem))

    def want(self, locations: Mapping[JwksLocation, timedelta]) -> None:
        """Say where keys are wanted from, all of it, and how long each location may take to answer."""
        if locations != self._wanted:
            self._wanted = dict(locations)
            self._changed.set()

    async def asked_once(self, at_most: timedelta) -> None:
        """Wait until each location that is wanted now has answered or failed, but not longer than ``at_most``."""
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                while any(location not in self._known or not self._known[location].due for location in self._wanted):
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            log.warning("security.keys_late", seconds=at_most.total_seconds())

    async def run(self) -> None:
        """Fetch what is wanted, again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True, socket_factory=self._socket)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                self._changed.clear()
                self._forget()
                now = loop.time()
                due = [location for location in self._wanted if self._known.setdefault(location, _Known()).due <= now]
                for start in range(0, len(due), AT_ONCE):
                    await asyncio.gather(*(self._ask(session, location) for location in due[start : start + AT_ONCE]))
                await self._until(min((held.due for held in self._known.values()), default=None))

    async def _until(self, due: float | None) -> None:
        """Wait for other wishes, or until a location is to be asked again."""
        try:
            async with asyncio.timeout_at(due):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _forget(self) -> None:
        for location in self._known.keys() - self._wanted.keys():
            if self._known.pop(location).jwks is not None:
                self._publish(location, None)

    async def _ask(self, session: aiohttp.ClientSession, location: JwksLocation) -> None:
        held, loop = self._known[location], asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._wanted.get(location, timedelta(seconds=5)).total_seconds()):
                jwks = await self._read(session, location)
            if jwks != held.jwks:
                self._publish(location, jwks)
        except Exception as error:  # whatever is wrong with one location, the others are asked
            held.problem, held.due = _reason(error)[:500], loop.time() + held.backoff.pause()
            log.warning(
                "security.keys_not_fetched",
                uri=location.uri or location.issuer,
                reason=held.problem,
                kept=held.jwks is not None,
                exc_info=not isinstance(error, _EXPECTED),
            )
            self._tell_answered(False)
        else:
            self._tell_answered(True)
            held.backoff.reset()
            held.jwks, held.problem, held.due = jwks, "", loop.time() + self._refresh
        self._answered.set()

    def _socket(self, info: Any) -> socket.socket:  # noqa: ANN401 - what getaddrinfo returns
        """Make the socket of a connection, unless its address is refused."""
        family, kind, protocol, _, address = info
        problem = self._rules.problem(str(address[0]))
        if problem:
            message = f"{address[0]} {problem}"
            raise OSError(message)
        return socket.socket(family, kind, protocol)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror is None:
        return str(error.os_error)  # a refusal of ours
    if not isinstance(error, _EXPECTED):
        return f"{type(error).__name__}: {error}"
    return str(error) or type(error).__name__


async def _jwks(session: aiohttp.ClientSession, location: JwksLocation) -> str:
    """Return the keys of a location, in one form whatever the order of fields.

    Raises:
        NoKeysError: it answered, with something else.
        aiohttp.ClientError, OSError: it did not answer.
    """
    answer = await json_object(session, location.uri or await _discovered(session, location.issuer))
    if not isinstance(answer.get("keys"), list):
        raise NoKeysError("the answer is no JSON web key set: it has no list of keys")
    text = json.dumps(answer, sort_keys=True, separators=(",", ":"))
    problem = await asyncio.to_thread(key_set_problem, text)  # a server may send thousands of keys to compute with
    if problem and problem != EMPTY:
        raise NoKeysError(f"the answer {problem}")
    return text


async def _discovered(session: aiohttp.ClientSession, issuer: str) -> str:
    """Return where an issuer says that its keys are. Reference: OpenID Connect Discovery 1.0, section 4."""
    found = await json_object(session, issuer.rstrip("/") + DISCOVERY)
    uri = found.get("jwks_uri")
    if not isinstance(uri, str) or not uri.startswith(("https://", "http://")):
        raise NoKeysError("the discovery document names no jwks_uri")
    return uri


async def json_object(session: aiohttp.ClientSession, uri: str, *, secured: bool = False) -> Mapping[str, Any]:
    """Return the JSON object at an address; ``secured`` if an answer counts only that came by HTTPS all the way.

    Raises:
        NoKeysError: it answered, with something else.
        aiohttp.ClientError, OSError: it did not answer.
    """
    async with session.get(uri, max_redirects=MAX_REDIRECTS) as response:
        if secured and any(each.url.scheme != "https" for each in (*response.history, response)):
            raise NoKeysError("the answer did not come by HTTPS all the way")
        if not response.ok:
            raise NoKeysError(f"the answer has status {response.status}")
        text = await _body(response.content)
    value = json_value(text, limit=MAX_BYTES)
    if not isinstance(value, Mapping):
        raise NoKeysError("the answer is no JSON object")
    return value


async def _body(content: aiohttp.StreamReader) -> bytes:
    held = bytearray()
    async for chunk in content.iter_chunked(65536):
        held += chunk
        if len(held) > MAX_BYTES:
            raise NoKeysError(f"the answer is longer than {MAX_BYTES} bytes")
    return bytes(held)
