"""Watches kinds that change rarely, with kopf: an operator within the control plane, on its own event loop.

kopf is used for what it does without a trace in the cluster: its handlers of events and of indexes write nothing, and
there is neither peering nor any event posted. It is made to fit in these ways:

- Its ``operator`` cancels every task of the loop that is younger than itself when it ends, streams of proxies included;
  so its tasks are spawned, and ended here.
- It takes the signals of the process. ``signals`` puts those of the program back in place, whatever comes between.
- Its tasks have others do what they ask of the API server, and leave them behind; those are ended here too.
- It is told who it is, though nobody asks: it would look up a user name that a Pod's user need not have.
- It does not tell what has gone while its watch was cut. A kind that is listed for the second time shows that its watch
  was cut, and then everything begins anew. It does not tell either when an empty list was read.
- Requests carry the credentials of our client as they are at that moment, and use its TLS.

High-rate kinds are not for it: it takes six times the CPU per event of ``watchers/kubernetes``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

import aiohttp
import kopf
import structlog
from kubernetes.aio.client import ApiClient

from controlplane.backoff import Backoff
from controlplane.controllers.generators import Generators
from controlplane.documents.json_reader import json_pruned
from controlplane.documents.limits import UnreadableError

log = structlog.get_logger(__name__)

Value = TypeVar("Value")
Body = Mapping[str, Any]
"""A raw object."""

FINALIZER = "controlplane.invalid/none"
"""kopf takes its finalizer off objects that no handler of it wants kept; this one is on none."""

_IDENTITY: Any = "controlplane"
"""Who kopf's peers would know it as. Left to itself it asks for the user's name, and a user id in a Pod has none."""

_PAUSES = (0.5, 30.0)
_HEALTHY_SECONDS = 60.0
_REQUEST = timedelta(seconds=10)
_SILENCE_SECONDS = 75.0  # the API server sends a bookmark about each minute


class _NoProgress(kopf.ProgressStorage):
    """Keeps nothing of how far handlers are: those used here have no state."""

    def fetch(self, **_: Any) -> None:  # noqa: ANN401 - kopf's
        return None

    def store(self, **_: Any) -> None:  # noqa: ANN401
        """Write nothing."""

    def purge(self, **_: Any) -> None:  # noqa: ANN401
        """Remove nothing."""

    def touch(self, **_: Any) -> None:  # noqa: ANN401
        """Change nothing."""

    def clear(self, *, essence: Any) -> Any:  # noqa: ANN401
        """Return an object as it is."""
        return essence


class _NoDifference(kopf.DiffBaseStorage):
    """Keeps nothing of what objects were."""

    def fetch(self, **_: Any) -> None:  # noqa: ANN401 - kopf's
        return None

    def store(self, **_: Any) -> None:  # noqa: ANN401
        """Write nothing."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[Value]):
    """One kind to watch, in all namespaces.

    ``resource`` is API group, version and plural name. ``entry`` makes a key and a value of an object; ``known`` is
    kept as the cluster has it, and ``changed`` called with the key of what is another now, or gone, and with an empty
    key once everything has been read. ``fields`` and ``labels`` are selectors, which the API server applies.
    """

    resource: tuple[str, str, str]
    entry: Callable[[Body], tuple[str, Value]]
    changed: Callable[[str], None]
    fields: str = ""
    labels: str = ""
    known: MutableMapping[str, Value] = field(default_factory=dict)


class _Round:
    """From one reading of everything to the next: what has been read of it, and why it ends."""

    def __init__(self, names: Collection[str]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._names = frozenset(names)
        self._lists: set[str] = set()
        self._watches: set[str] = set()
        self._listed = 0
        self._noted: set[tuple[str, str]] = set()
        self.sessions: list[aiohttp.ClientSession] = []
        """The connections that were made for it."""
        self.asking: set[asyncio.Task[Any]] = set()
        """The tasks that wait for the API server."""
        self.generators = Generators()
        """Those of kopf, which leaves the ones of a watch midway where that is cancelled."""

    @property
    def complete(self) -> bool:
        """Whether all that was listed has been noted."""
        return self._watches >= self._names and len(self._noted) >= self._listed

    def asked(self, name: str, query: Mapping[str, str]) -> None:
        """A list or a watch of a kind is asked for. A second list says that the watch was cut: this round is over."""
        if "watch" in query:
            self._watches.add(name)
        elif "continue" not in query:
            if name in self._lists:
                self.end()
            self._lists.add(name)

    def listed(self, count: int) -> None:
        """A list, or a page of it, has so many objects."""
        self._listed += count

    def note(self, name: str, key: str) -> None:
        """An object was read."""
        if not self.complete:
            self._noted.add((name, key))

    def end(self, error: Exception | None = None) -> None:
        """End this round, with a mistake of ours if there is one."""
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class Operator:
    """Keeps what is known of some kinds as the cluster has it while ``run`` runs, which may be cancelled and run again.

    The verbs it needs: list and watch of the kinds.
    """

    def __init__(self, client: ApiClient, kinds: tuple[Kind[Any], ...], signals: Callable[[], None]) -> None:
        """Prepare; ``signals`` installs the program's signal handlers."""
        self._client = client
        self._kinds = kinds
        self._signals = signals
        self._backoff = Backoff(*_PAUSES)
        self.complete = False
        """Whether everything has been read."""

    async def run(self) -> None:
        """Watch until cancelled. Whatever the API server or the network do wrong is logged, and tried again.

        Raises:
            Exception: our own mistake.
        """
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._once()
            except Exception as error:
                if not _of_the_cluster(error):
                    raise
                log.warning("controllers.watch_ended", kinds=self._names, reason=str(error) or type(error).__name__)
            else:
                log.debug("controllers.watch_began_anew", kinds=self._names)
            if loop.time() - begun >= _HEALTHY_SECONDS:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.pause())

    @property
    def _names(self) -> list[str]:
        return [kind.resource[2] for kind in self._kinds]

    async def _once(self) -> None:
        """Read and watch until a watch was cut, or something failed."""
        for kind in self._kinds:
            kind.known.clear()
        current = _Round(self._names)
        spawning = asyncio.ensure_future(self._spawn(current))
        try:
            tasks = await asyncio.shield(spawning)
            await asyncio.wait({*tasks, current.ended}, return_when=asyncio.FIRST_COMPLETED)
            for task in (current.ended, *tasks):
                if task.done():
                    task.result()
        finally:
            self.complete = False
            current.end()
            await _finished(_end(spawning, current))

    async def _spawn(self, current: _Round) -> Collection[asyncio.Task[Any]]:
        """Begin kopf's tasks. Nothing comes between its taking the signals and their being put back in place."""
        current.generators.note()
        try:
            return await kopf.spawn_tasks(
                registry=self._registry(current), settings=self._settings(), clusterwide=True, identity=_IDENTITY
            )
        finally:
            self._signals()

    def _registry(self, current: _Round) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        logins = Backoff(*_PAUSES)

        async def login(**_: Any) -> kopf.AiohttpSession:  # noqa: ANN401 - kopf's
            again, pause = logins.failures > 0, logins.pause()
            if again:
                log.warning("controllers.not_authorized", kinds=self._names)
                await asyncio.sleep(pause)
            host: str = self._client.configuration.host
            current.sessions.append(self._session(current))
            return kopf.AiohttpSession(server=host, aiohttp_session=current.sessions[-1])

        kopf.on.login(registry=registry, retries=1)(login)
        for kind in self._kinds:
            self._register(registry, kind, current)
        return registry

    def _register(self, registry: kopf.OperatorRegistry, kind: Kind[Any], current: _Round) -> None:
        """Have kopf tell of a kind. These are coroutines for kopf gives plain functions to threads."""
        name = kind.resource[2]

        async def indexed(body: Body, **_: Any) -> None:  # noqa: ANN401 - kopf's
            try:
                key, value = kind.entry(body)
                kind.known[key] = value
                current.note(name, key)
                self._check(current)
            except Exception as error:  # noqa: BLE001 - kopf would go on without it
                current.end(error)

        async def event(body: Body, type: str | None, **_: Any) -> None:  # noqa: A002, ANN401
            try:
                key, _value = kind.entry(body)
                if type == "DELETED":
                    kind.known.pop(key, None)
                if self.complete:
                    kind.changed(key)
            except Exception as error:  # noqa: BLE001 - the same
                current.end(error)

        kopf.index(*kind.resource, registry=registry, id=name)(indexed)
        kopf.on.event(*kind.resource, registry=registry, id=name)(event)

    def _check(self, current: _Round) -> None:
        """Tell once that everything has been read."""
        if current.complete and not (self.complete or current.ended.done()):
            self.complete = True
            for kind in self._kinds:
                kind.changed("")

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.scanning.disabled = True  # of definitions and namespaces that come and go
        settings.process.ultimate_exiting_timeout = None  # it would kill the process
        settings.persistence.finalizer = FINALIZER
        settings.persistence.progress_storage = _NoProgress()
        settings.persistence.diffbase_storage = _NoDifference()
        settings.networking.request_timeout = _REQUEST.total_seconds()
        settings.networking.error_backoffs = ()  # an attempt that fails ends this round
        settings.watching.inactivity_timeout = _SILENCE_SECONDS
        settings.watching.reconnect_backoff = 0.5
        settings.watching.chunk_size = 500
        settings.queueing.idle_timeout = 1.0
        settings.queueing.exit_timeout = 0.5
        for kind in self._kinds:
            if kind.fields:
                settings.watching.field_selectors[kind.resource] = kind.fields
            if kind.labels:
                settings.watching.label_selectors[kind.resource] = kind.labels
        return settings

    def _session(self, current: _Round) -> aiohttp.ClientSession:
        """Return connections of their own with our client's TLS, which kopf closes."""
        rest, names = self._client.rest_client, set(self._names)

        async def asking(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            task = asyncio.current_task()
            if current.ended.done() or task is None:
                raise asyncio.CancelledError
            current.asking.add(task)
            try:
                return await answered(request, send)
            finally:
                current.asking.discard(task)

        async def answered(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            _, _, headers, *_ = await self._client.param_serialize(
                "GET", request.url.path, auth_settings=["BearerToken"]
            )
            for header, value in headers.items():
                if header.lower() == "authorization":
                    request.headers["Authorization"] = value
            if rest.configuration.tls_server_name:
                request.server_hostname = rest.configuration.tls_server_name
            name, query = request.url.path.rpartition("/")[2], request.url.query
            if name in names:
                current.asked(name, query)
            response = await send(request)
            page = await response.read() if "watch" not in query else b""
            if page and name in names and response.ok:
                current.listed(_count(page))
            self._check(current)
            return response

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=rest.ssl_context),
            headers={"User-Agent": "controlplane"},
            middlewares=(asking,),
            proxy=rest.proxy,
            trust_env=True,
            read_bufsize=2**21,
        )


def _count(page: bytes) -> int:
    """Return how many objects a list, or a page of it, has.

    Raises:
        UnreadableError: it is not JSON.
    """
    value = json_pruned(page)
    items = value.get("items") if isinstance(value, dict) else None
    return len(items) if isinstance(items, list) else 0


async def _end(spawning: asyncio.Future[Collection[asyncio.Task[Any]]], current: _Round) -> None:
    """End kopf's tasks and, at the same moment, those that ask for them; then close what these have left open.

    Where the watch of one kind fails, kopf ends those of the others no more.
    """
    try:
        ending = {*await spawning, *current.asking, *current.generators.tasks}
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        for task in ending:
            with suppress(asyncio.CancelledError):
                task.exception()
        await current.generators.close()
    finally:
        for session in current.sessions:
            await session.close()


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Do some work to its end, also where this is cancelled meanwhile."""
    doing, cancelled = asyncio.ensure_future(work), False
    while not doing.done():
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    doing.result()


def _of_the_cluster(error: BaseException) -> bool:
    """Whether a failure is of the API server or the way to it, and not ours."""
    if isinstance(error, aiohttp.ClientError | OSError | TimeoutError | UnreadableError):
        return True
    return type(error).__module__.partition(".")[0] == "kopf"
