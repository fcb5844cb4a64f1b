"""Requests to one API server: bytes in, bytes out, and failures as values.

The ``kubernetes`` package finds and authenticates the server; what it answers stays raw, as with its generated
``..._without_preload_content`` calls, which build these same requests. Typed models would cost three times the CPU.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException

from controlplane.documents.json_reader import json_value
from controlplane.watchers.kubernetes.contexts import USUAL_KUBECONFIG, check_kubeconfig
from controlplane.watchers.kubernetes.errors import ConfigurationError, NoClusterError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from controlplane.watchers.kubernetes.timing import Timing

log = structlog.get_logger()

JSON = "application/json"
MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longest event that is believed; etcd holds objects of 1.5 MB at most, which escapes can make some times longer."""

_BROKEN = (aiohttp.ClientError, asyncio.TimeoutError, OSError, EOFError, ConfigException)
_UNUSABLE = (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)
_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
_HTTP_SERVER_ERROR = 500
_NOT_MODIFIED = 304
_UNAUTHORIZED = 401
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),
)
"""A peer that vanishes without a word is noticed after 25 seconds, although a quiet watch sends nothing itself."""


class Contact:
    """When the API server was last heard of, and whether it is away: nothing was heard since a request failed."""

    def __init__(self) -> None:
        self._last_heard = time.time()
        self._away = False

    @property
    def away_since(self) -> float | None:
        """When it was last heard of (seconds since the epoch), while it is away; before the first time, the start."""
        return self._last_heard if self._away else None

    def heard(self) -> None:
        """Note that something came."""
        now = time.time()
        if self._away:
            log.info("watchers.api_server_back", away_seconds=round(now - self._last_heard, 3))
        self._last_heard, self._away = now, False

    def failed(self, reason: str) -> None:
        """Note that a request got no answer, or none that helps."""
        if not self._away:
            log.warning("watchers.api_server_away", reason=reason)
        self._away = True


class Api:
    """One API server. ``contact`` tells whether it answers.

    ``renew`` reads the credentials again, where they are of a kind that ends without a word.
    """

    def __init__(self, client: ApiClient, timing: Timing, renew: Callable[[], Awaitable[object]] | None = None) -> None:
        self.contact = Contact()
        self.client = client
        self._timing = timing
        self._renew = renew
        self._renewed_at = time.monotonic()

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()

    async def probe(self, path: str, accept: str, etag: str) -> tuple[bytes, str]:
        """Return a small answer and its ETag; an empty body where the server says that ``etag`` still holds.

        Raises as ``get`` does, soon.
        """
        return await self._get(
            path, {}, {"Accept": accept, **({"If-None-Match": etag} if etag else {})}, self._timing.probe
        )

    async def get(self, path: str, parameters: Mapping[str, str], accept: str) -> bytes:
        """Return the body of an answer.

        Raises:
            RefusedError: the server says no.
            UnreachableError: it says nothing, or not everything.
        """
        body, _ = await self._get(path, parameters, {"Accept": accept}, self._timing.answer)
        return body

    async def _get(
        self, path: str, parameters: Mapping[str, str], headers: dict[str, str], seconds: float
    ) -> tuple[bytes, str]:
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=self._timing.connect, sock_read=seconds)
        async with self._request(path, parameters, headers, limits) as response:
            if response.status == _NOT_MODIFIED:
                return b"", headers["If-None-Match"]
            body = await response.read()
            self.contact.heard()
            return body, response.headers.get("ETag", "")

    async def send(
        self, method: str, path: str, parameters: Mapping[str, str], forms: tuple[str, str], body: object
    ) -> bytes:
        """Ask with any method and return the body of the answer; ``forms`` are what is accepted and what is sent.

        The body is a value of JSON; ``None`` for none.

        Raises as ``get`` does.
        """
        headers = {"Accept": forms[0]} | ({"Content-Type": forms[1]} if body is not None else {})
        limits = aiohttp.ClientTimeout(
            total=self._timing.answer, sock_connect=self._timing.connect, sock_read=self._timing.answer
        )
        async with self._request(path, parameters, headers, limits, (method, body)) as response:
            return await response.read()

    @asynccontextmanager
    async def lines(
        self, path: str, parameters: Mapping[str, str], accept: str = JSON
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """Open a watch; give its lines as they come, those together that came together.

        A last line that was cut off is not given. Raises as ``get`` does, ``UnreachableError`` also while reading,
        when nothing comes for longer than ``Timing.silence``.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._timing.connect, sock_read=self._timing.silence)
        async with self._request(path, parameters, {"Accept": accept}, limits) as response:
            yield self._lines(response)

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[list[bytes]]:
        parts: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            self.contact.heard()
            complete, newline, rest = chunk.rpartition(b"\n")
            if newline:
                yield [line for line in b"".join((*parts, complete)).split(b"\n") if line]
                parts, size = [], 0
            if rest:
                parts.append(rest)
                size += len(rest)
                if size > MAX_LINE_BYTES:
                    raise UnreachableError(f"an event is longer than {MAX_LINE_BYTES} bytes")

    @asynccontextmanager
    async def _request(
        self,
        path: str,
        parameters: Mapping[str, str],
        headers: dict[str, str],
        limits: aiohttp.ClientTimeout,
        asked: tuple[str, object] = ("GET", None),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        response = await self._open(path, parameters, headers, limits, asked)
        try:
            yield response
        except _BROKEN as error:
            raise UnreachableError(_reason(error)) from error
        finally:
            _end(response)

    async def _open(
        self,
        path: str,
        parameters: Mapping[str, str],
        headers: dict[str, str],
        limits: aiohttp.ClientTimeout,
        asked: tuple[str, object],
    ) -> aiohttp.ClientResponse:
        """Send a request - its method and its body, if there is one - and return its answer, unless it is a refusal."""
        try:
            method, url, sent, _, _ = await self.client.param_serialize(
                asked[0],
                path,
                query_params=list(parameters.items()),
                header_params=headers,
                auth_settings=["BearerToken"],
            )
            answer = await self.client.call_api(method, url, sent, body=asked[1], _request_timeout=limits)
            response: aiohttp.ClientResponse = answer.response
            if response.ok:
                self.contact.heard()
                return response
            refusal = await _refusal(response)
        except _BROKEN as error:
            reason = _reason(error)
            self.contact.failed(reason)
            raise UnreachableError(reason) from error
        if refusal.code >= _HTTP_SERVER_ERROR:
            self.contact.failed(str(refusal))
        else:
            self.contact.heard()
        if refusal.code == _UNAUTHORIZED:
            await self._renew_credentials()
        raise refusal

    async def _renew_credentials(self) -> None:
        """Read the credentials again, for the next try: a token of the kubeconfig or of its program may have ended."""
        now = time.monotonic()
        if self._renew is None or now < self._renewed_at + self._timing.renewal:
            return
        self._renewed_at = now
        try:
            await self._renew()
        except _UNUSABLE as error:
            log.warning("watchers.credentials_not_renewed", reason=_reason(error))


def _end(response: aiohttp.ClientResponse) -> None:
    """Give the connection back where everything was read; otherwise end it, without a word of TLS to wait for."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _refusal(response: aiohttp.ClientResponse) -> RefusedError:
    """Read the ``Status`` object of a refusal, or whatever is there instead."""
    try:
        body = await response.read()
    finally:
        _end(response)
    try:
        message = json_value(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body[:300].decode(errors="replace").strip() or response.reason
    try:
        retry_after = float(response.headers.get("Retry-After", "0"))
    except ValueError:  # it may be a date, which nobody here sends
        retry_after = 0.0
    return RefusedError(response.status, str(message), retry_after)


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    if isinstance(error, yaml.YAMLError):
        return f"it is not YAML: {' '.join(str(error).split())}"
    if isinstance(error, (TypeError, AttributeError)):  # the package takes the file's form on trust
        return "it does not have the form of a kubeconfig"
    return str(error) or type(error).__name__


class _Connections(RESTClientObject):
    """The package's connections, with sockets that notice a peer that is gone."""

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=0, ssl=self.ssl_context, socket_factory=_socket)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    for level, option, value in _KEEPALIVE:
        made.setsockopt(level, option, value)
    return made


async def connect(kubeconfig: str, context: str, timing: Timing) -> Api:
    """Find the API server: by kubeconfig where one is named, else the cluster this runs in, else by ``$KUBECONFIG``.

    Nothing is sent yet. ``context`` names one of the kubeconfig, which is then the default one where none is named.

    Raises:
        ConfigurationError: there is no such file or context, or it cannot be used.
    """
    configuration = Configuration()
    renew: Callable[[], Awaitable[object]] | None = None
    if kubeconfig and not os.path.isfile(kubeconfig):  # noqa: ASYNC240, PTH113 - once, at the start
        raise ConfigurationError(f"--kubeconfig: there is no file {kubeconfig}")
    try:
        if not (kubeconfig or context) and os.environ.get(_IN_CLUSTER):
            config.load_incluster_config(configuration)
        elif kubeconfig or context or os.environ.get("KUBECONFIG"):
            file = kubeconfig or os.environ.get("KUBECONFIG")
            check_kubeconfig(file or USUAL_KUBECONFIG, context)
            renew = partial(config.load_kube_config, file, context or None, configuration, persist_config=False)
            await renew()
        else:
            raise NoClusterError(
                "this does not run in a Kubernetes cluster; name one with $KUBECONFIG, ~/.kube/config or --kubeconfig"
            )
        client = ApiClient(configuration)
        client.rest_client = _Connections(configuration)
    except _UNUSABLE as error:
        named = kubeconfig or os.environ.get("KUBECONFIG") or "the default kubeconfig"
        where = named if kubeconfig or context or not os.environ.get(_IN_CLUSTER) else "the pod's service account"
        raise ConfigurationError(f"{where} cannot be used: {_reason(error)}") from error
    client.user_agent = "controlplane"
    return Api(client, timing, renew)
