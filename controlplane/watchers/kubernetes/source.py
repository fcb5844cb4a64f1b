"""A cluster as a source: all its feeds, and what they say together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from controlplane.model.objects import Warned
from controlplane.watchers.kubernetes.api import Api, connect
from controlplane.watchers.kubernetes.broadcast import Broadcast
from controlplane.watchers.kubernetes.cache import Cache, Scope
from controlplane.watchers.kubernetes.change_buffer import ChangeBuffer
from controlplane.watchers.kubernetes.discovery import Discovery
from controlplane.watchers.kubernetes.named_secrets import NamedSecrets
from controlplane.watchers.kubernetes.reflector import Reflector
from controlplane.watchers.kubernetes.resources import CONFIG_MAPS, CORE, ISTIO, NAMESPACES
from controlplane.watchers.kubernetes.selection import Selection
from controlplane.watchers.kubernetes.timing import Timing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping

    from kubernetes.aio.client import ApiClient

    from controlplane.model.feeds import Feed
    from controlplane.model.kinds import GroupKind
    from controlplane.model.objects import ChangeSet, ObjectKey, Rejected
    from controlplane.model.status import Received
    from controlplane.watchers.kubernetes.cache import Place
    from controlplane.watchers.kubernetes.resources import Resource

log = structlog.get_logger()

DEFAULT_REVISION = "default"
_MESH_CONFIG_MAP = "istio"
_INJECTOR_CONFIG_MAP = "istio-sidecar-injector"
_REMIND_SECONDS = 30.0
"""How often the log says what is still missing before the first list is complete."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster is read, and what of it.

    ``kubeconfig`` and ``context`` as ``api.connect`` takes them. ``revision`` is the value of the label
    ``istio.io/rev`` of the Istio objects that count, beside those without it; one other than ``default`` has its mesh
    configuration in the ConfigMap ``istio-REVISION``. ``namespaces`` are those that are read, all where there are
    none. ``system_namespace`` holds the mesh configuration. ``name`` is how messages call the cluster.
    """

    kubeconfig: str = ""
    context: str = ""
    revision: str = DEFAULT_REVISION
    namespaces: tuple[str, ...] = ()
    system_namespace: str = "istio-system"
    name: str = "Kubernetes"


class KubernetesSource:
    """Objects from a cluster. ``load`` comes first, then ``changes``; both belong to one consumer.

    Everything lives on the event loop that ``load`` is called on.
    """

    def __init__(self, options: ClusterOptions, timing: Timing | None = None) -> None:
        self._options = options
        self._timing = timing or Timing()
        self._arrived = asyncio.Event()
        self.statuses = Broadcast()
        """Sent when something that ``received`` yields is another."""
        self._buffer = ChangeBuffer(self._arrived, self.statuses)
        self._selection = Selection()
        self._everything = Scope(Selection(), options.revision, options.name)
        self._own_places: set[Place] = set()
        self._reflectors: list[Reflector] = []
        self._namespaces: list[Reflector] = []
        self._caches: dict[GroupKind, list[Cache]] = {}
        """Those whose objects have a status that is kept, by kind."""
        self._mesh: Reflector | None = None
        self._secrets: list[NamedSecrets] = []
        self._config_maps: dict[Place, tuple[Reflector, asyncio.Task[None]]] = {}
        """Those that are read because something names them."""
        self._discovery: Discovery | None = None
        self._api: Api | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def rejected(self) -> Mapping[str, Rejected]:
        """Everything that is refused now, by key."""
        found = (held.rejected for reflector in self._reflectors for held in reflector.cache.odd())
        return {str(rejected.key): rejected for rejected in found if rejected is not None}

    @property
    def warnings(self) -> frozenset[Warned]:
        """Everything that is odd now in objects that are used all the same."""
        return frozenset(
            Warned(held.object.key, text)
            for reflector in self._reflectors
            for held in reflector.cache.odd()
            if held.object is not None
            for text in held.warnings
        )

    def received(self) -> Iterator[Received]:
        """Yield the newest version of every object that counts and whose status is kept, good or not."""
        for caches in self._caches.values():
            for cache in caches:
                yield from cache.received()

    def find(self, key: ObjectKey) -> Received | None:
        """Return one of those, or ``None``."""
        place = (key.namespace, key.name)
        caches = self._caches.get(key.kind, ())
        return next((found for cache in caches if (found := cache.find(place)) is not None), None)

    @property
    def away_since(self) -> float | None:
        """When the API server was last heard of (seconds since the epoch), while it does not answer."""
        return self._api.contact.away_since if self._api is not None else None

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """How each feed is doing."""
        return tuple(reflector.state for reflector in self._reflectors)

    @property
    def waiting(self) -> tuple[str, ...]:
        """What ``load`` waits for: the feeds without a complete list, each with its problem."""
        unknown = self._discovery.problem if self._discovery is not None else ""
        return tuple(
            f"{feed.resource}: {problem}" if (problem := feed.problem or unknown) else feed.resource
            for reflector in self._reflectors
            if not (feed := reflector.state).listed and not reflector.ready.is_set()
        )

    @property
    def client(self) -> ApiClient | None:
        """The way to the cluster, for others that need it; ``None`` before ``load``."""
        return self._api.client if self._api is not None else None

    async def load(self) -> ChangeSet:
        """Return the first complete list of every kind, however long the cluster takes to give it.

        Raises:
            ConfigurationError: there is no way to the cluster.
        """
        self._api = await connect(self._options.kubeconfig, self._options.context, self._timing)
        self._build(self._api)
        self._discovery = Discovery(
            self._api, [each for each in self._reflectors if each.resource.definition], self._timing
        )
        feeds = [reflector.run() for reflector in self._reflectors]
        work = [self._discovery.run(), *feeds, *(secrets.run() for secrets in self._secrets)]
        self._tasks = [self._started(each) for each in work]
        try:
            await self._all_ready()
        except BaseException:
            await self.close()
            raise
        return replace(self._collect(), deletes=())

    def want(self, secrets: Collection[Place], config_maps: Collection[Place]) -> None:
        """Read these Secrets and ConfigMaps from now on, and no others, beside those of the mesh itself.

        Of a Secret the namespace may be empty, which stands for any. What they hold comes with ``changes``.
        """
        for cache in self._secrets:
            cache.want(frozenset(secrets))
        wanted = set(config_maps) - self._own_places
        for place in self._config_maps.keys() - wanted:
            reflector, task = self._config_maps.pop(place)
            task.cancel()
            self._tasks.remove(task)
            self._reflectors.remove(reflector)
            reflector.cache.replace({})
        for place in wanted - self._config_maps.keys():
            self._config_maps[place] = self._reading(place)

    async def settled(self) -> None:
        """Return once all that is wanted has been read."""
        await asyncio.gather(
            *(cache.settled() for cache in self._secrets),
            *(reflector.ready.wait() for reflector, _ in self._config_maps.values()),
        )

    def arrived(self) -> ChangeSet:
        """Return what ``changes`` would give now, and give it no more."""
        return self._collect()

    @property
    def unread(self) -> tuple[str, ...]:
        """Why Secrets that are wanted were not read, one sentence each."""
        return tuple(cache.problem for cache in self._secrets if cache.problem)

    def _reading(self, place: Place) -> tuple[Reflector, asyncio.Task[None]]:
        """Begin to read a ConfigMap."""
        if self._api is None:
            raise RuntimeError("nothing is read before `load`")
        namespace, name = place
        cache = Cache(CONFIG_MAPS, self._everything, self._buffer)
        reflector = Reflector(self._api, cache, self._timing, namespace=namespace, named=name)
        self._reflectors.append(reflector)
        task = self._started(reflector.run())
        self._tasks.append(task)
        return reflector, task

    def _started(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._arrived.set())
        return task

    async def changes(self) -> AsyncIterator[ChangeSet]:
        """Yield what differs from all that ``load`` and this have returned before.

        A change set holds no unchanged object, except one whose refusal has just ended; for the same reason ``deletes``
        may hold keys that never were objects. Ends when it is closed, and then closes the source.
        """
        try:
            while True:
                await self._arrived.wait()
                self._raise_failure()
                changes = self._collect()
                if changes.upserts or changes.deletes or changes.rejections:
                    yield changes
        finally:
            await self.close()

    async def close(self) -> None:
        """End all watches. What was read can still be asked for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._api is not None:
            await self._api.close()

    def _build(self, api: Api) -> None:
        options = self._options
        default = options.revision == DEFAULT_REVISION
        name = _MESH_CONFIG_MAP if default else f"{_MESH_CONFIG_MAP}-{options.revision}"
        mesh = Cache(CONFIG_MAPS, self._everything, self._buffer, {name: _MESH_CONFIG_MAP})
        self._mesh = Reflector(api, mesh, self._timing, namespace=options.system_namespace, named=name)
        injector = _INJECTOR_CONFIG_MAP if default else f"{_INJECTOR_CONFIG_MAP}-{options.revision}"
        self._own_places = {(options.system_namespace, name), (options.system_namespace, injector)}
        held = Cache(CONFIG_MAPS, self._everything, self._buffer, {injector: _INJECTOR_CONFIG_MAP})
        scope = Scope(self._selection, options.revision, options.name)
        for resource in (*CORE, *ISTIO):
            for namespace in options.namespaces or ("",):
                self._reflectors += self._feeds(api, resource, scope, namespace)
        for namespace in options.namespaces or ("",):
            secrets = NamedSecrets(api, self._everything, self._buffer, self._timing)
            self._secrets.append(secrets)
            self._reflectors.append(Reflector(api, secrets, self._timing, namespace=namespace))
        for reflector in self._reflectors:
            if reflector.resource.status:
                self._caches.setdefault(reflector.resource.group_kind, []).append(reflector.cache)
        self._namespaces = [each for each in self._reflectors if each.resource is NAMESPACES]
        injector_feed = Reflector(api, held, self._timing, namespace=options.system_namespace, named=injector)
        self._reflectors += (injector_feed, self._mesh)

    def _feeds(self, api: Api, resource: Resource, scope: Scope, namespace: str) -> Iterator[Reflector]:
        """Yield the feed of a resource for one watched namespace; of those without namespaces there is only one."""
        cache = Cache(resource, scope, self._buffer)
        if resource.namespaced:
            yield Reflector(api, cache, self._timing, namespace=namespace)
        elif resource is NAMESPACES:
            yield Reflector(api, cache, self._timing, named=namespace)
        elif not namespace or namespace == self._options.namespaces[0]:
            yield Reflector(api, cache, self._timing)

    async def _all_ready(self) -> None:
        ready = asyncio.gather(*(reflector.ready.wait() for reflector in self._reflectors))
        ends: set[asyncio.Future[Any]] = {ready, *self._tasks}
        try:
            while not ready.done():
                done, _ = await asyncio.wait(ends, timeout=_REMIND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    log.info("watchers.waiting", missing=list(self.waiting))
                self._raise_failure()
        finally:
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)

    def _raise_failure(self) -> None:
        """Raise what ended a feed, which is a mistake of ours: they end for nothing else."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def _collect(self) -> ChangeSet:
        if self._buffer.kinds & {NAMESPACES.group_kind, CONFIG_MAPS.group_kind}:
            self._select()
        return self._buffer.take()

    def _select(self) -> None:
        """Take the selectors of the mesh configuration, and the namespaces, as they are now."""
        mesh = next(self._mesh.cache.objects(), None) if self._mesh is not None else None
        labels = {obj.meta.name: obj.meta.labels for each in self._namespaces for obj in each.cache.objects()}
        before = self._selection.admitted
        if self._selection.update(mesh, labels):
            for reflector in self._reflectors:
                if reflector is not self._mesh:
                    reflector.cache.select(before)
