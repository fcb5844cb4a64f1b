"""Objects by key with secondary indexes, and the recorded view of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import structlog
from sortedcontainers import SortedSet

from controlplane.apis.authorization_policy import Action
from controlplane.engine.memo import Memo
from controlplane.engine.recording import Query, Recorder
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind
from controlplane.model.kubernetes import KubeService
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.model.selecting import SELECTING_KINDS, selected
from controlplane.model.wanted_secrets import of_rule
from controlplane.registry.labels import NETWORK
from controlplane.registry.portions import PORTIONS, portion_of

log = structlog.get_logger(__name__)


class Fact(NamedTuple):
    """Something that can be read of the registry, there or not.

    ``about`` is ``object`` (key: an ``ObjectKey``), ``kind`` (key: a kind; which objects of it exist) or the name of
    an index (key: the index key; which objects it holds).
    """

    about: str
    key: Hashable


IndexKeys = Callable[[Object], Iterable[Hashable]]


def _slice_service(obj: Object) -> Iterable[Hashable]:
    return ((obj.meta.namespace, obj.spec.service),)


def _slice_addresses(obj: Object) -> Iterable[Hashable]:
    return {address for endpoint in obj.spec.endpoints for address in endpoint.addresses}


def _namespace(obj: Object) -> Iterable[Hashable]:
    return (obj.meta.namespace,)


def _portion(obj: Object) -> Iterable[Hashable]:
    return (portion_of(obj.meta.name, PORTIONS),)


def _selected_pair(obj: Object) -> Iterable[Hashable]:
    """One pair of a Service's selector stands for it: what the selector selects has that one too."""
    if not isinstance(obj.spec, KubeService) or not obj.spec.selector:
        return ()
    return ((obj.meta.namespace, *min(obj.spec.selector.items())),)


#: kind -> index name -> keys of an object in it
INDEXES: dict[GroupKind, dict[str, IndexKeys]] = {
    kinds.ENDPOINT_SLICE: {"slices_of": _slice_service, "slices_with": _slice_addresses},
    kinds.POD: {"pods_in": _namespace, "pods_with": lambda obj: obj.spec.ips},
    kinds.SERVICE: {
        "services_in_portion": _portion,
        "services_selecting": _selected_pair,
        "network_gateways": lambda obj: ((),) if obj.meta.labels.get(NETWORK) else (),
    },
    kinds.SERVICE_ENTRY: {
        "entries_in_portion": _portion,
        "entries_in": _namespace,
        "entries_with": lambda obj: {endpoint.address for endpoint in obj.spec.endpoints if endpoint.address},
        "entries_for": lambda obj: {(obj.meta.namespace, host.lower()) for host in obj.spec.hosts},
    },
    kinds.WORKLOAD_ENTRY: {"workload_entries_in": _namespace, "workload_entries_with": lambda obj: (obj.spec.address,)},
    kinds.DESTINATION_RULE: {
        "destination_rules_in": _namespace,
        "rules_with_credentials": lambda obj: ((),) if any(of_rule(obj.spec)) else (),
    },
    kinds.SECRET: {"secrets_named": lambda obj: (obj.meta.name,)},
    kinds.SIDECAR: {"sidecars_in": _namespace},
    kinds.PEER_AUTHENTICATION: {"peer_authentications_in": _namespace},
    kinds.REQUEST_AUTHENTICATION: {"request_authentications_in": _namespace},
    kinds.AUTHORIZATION_POLICY: {
        "authorization_policies_in": _namespace,
        "policies_that_ask": lambda obj: ((),) if obj.spec.action is Action.CUSTOM else (),
    },
    kinds.ENVOY_FILTER: {"envoy_filters_in": _namespace},
    kinds.TELEMETRIES: {"telemetries_in": _namespace},
    kinds.PROXY_CONFIG: {"proxy_configs_in": _namespace},
    kinds.WASM_PLUGIN: {
        "wasm_plugins_in": _namespace,
        "plugins_with_pull_secret": lambda obj: ((),) if obj.spec.image_pull_secret is not None else (),
    },
    kinds.TRAFFIC_EXTENSION: {
        "traffic_extensions_in": _namespace,
        "extensions_with_pull_secret": lambda obj: (
            ((),) if obj.spec.wasm is not None and obj.spec.wasm.image_pull_secret is not None else ()
        ),
    },
}
for _kind in SELECTING_KINDS:
    INDEXES[_kind]["selecting"] = lambda obj: ((),) if selected(obj.kind, obj.spec) is not None else ()


_FEW = 8
"""Keys that are put in order anew with each one more; the structure for many of them takes 1.5 kB with a single one."""


class _Keys:
    """Keys of objects in their order. One more or less costs next to nothing; all of them are listed when asked for.

    There is one of these for each address of an endpoint, mostly with a single key: few keys are no more than a tuple.
    """

    __slots__ = ("_all", "_sorted")

    def __init__(self) -> None:
        self._sorted: SortedSet[ObjectKey] | None = None  # where there are many
        self._all: tuple[ObjectKey, ...] | None = ()

    def __bool__(self) -> bool:
        return bool(self._all if self._sorted is None else self._sorted)

    def add(self, key: ObjectKey) -> None:
        if self._sorted is None:
            held = self.all()
            if len(held) < _FEW:
                self._all = tuple(sorted({*held, key}))
                return
            self._sorted = SortedSet(held)
        self._sorted.add(key)
        self._all = None

    def discard(self, key: ObjectKey) -> None:
        if self._sorted is None:
            self._all = tuple(held for held in self.all() if held != key)
            return
        self._sorted.discard(key)
        self._all = None

    def all(self) -> tuple[ObjectKey, ...]:
        if self._all is None:
            self._all = tuple(self._sorted or ())
        return self._all


class RoutesFrontend(NamedTuple):
    """The VirtualServices that objects of a foreign kind are: their keys, and one by its key (``None``: it is gone)."""

    keys: Callable[[View], tuple[ObjectKey, ...]]
    object: Query[ObjectKey, Object | None]


class UnservedPart(NamedTuple):
    """One part of an object of a foreign kind that has no effect or fails: ``path`` of its field, and the reason."""

    key: ObjectKey
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Frontends:
    """What foreign kinds are read as, beside the objects of Istio's kinds.

    ``gateways`` return Gateways; ``virtual_services`` has the kind in the keys of what each frontend makes, a kind
    that no object of the registry has. ``unserved`` return what of these objects nothing comes of.
    """

    gateways: tuple[Query[tuple[()], tuple[Object, ...]], ...] = ()
    virtual_services: Mapping[GroupKind, RoutesFrontend] = field(default_factory=dict)
    unserved: tuple[Query[tuple[()], tuple[UnservedPart, ...]], ...] = ()


NO_FRONTENDS = Frontends()


class View(Recorder):
    """Reads of the registry, recorded; an absent answer is recorded too: it may appear later."""

    __slots__ = ("_registry",)

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry.memo)
        self._registry = registry

    def object(self, kind: GroupKind, namespace: str, name: str) -> Object | None:
        """Return one object, or ``None``."""
        return self.get(ObjectKey(kind, namespace, name))

    def get(self, key: ObjectKey) -> Object | None:
        """Return one object by its key, or ``None``."""
        self.record(Fact("object", key))
        return self._registry.objects.get(key)

    def knows(self, key: ObjectKey) -> bool:
        """Whether there is such an object, for what is said beside a value: the read is not recorded."""
        return key in self._registry.objects

    def keys(self, kind: GroupKind) -> tuple[ObjectKey, ...]:
        """Return the keys of all objects of a kind, sorted; not the objects, so their changes do not matter here."""
        self.record(Fact("kind", kind))
        return self._registry.keys(kind)

    def index(self, name: str, key: Hashable) -> tuple[ObjectKey, ...]:
        """Return the keys that an index holds under ``key``, sorted."""
        self.record(Fact(name, key))
        return self._registry.indexed(name, key)

    @property
    def domain(self) -> str:
        """The DNS domain of the Kubernetes cluster; fixed for the life of the process."""
        return self._registry.domain

    @property
    def frontends(self) -> Frontends:
        """What foreign kinds are read as; fixed for the life of the process."""
        return self._registry.frontends

    @property
    def allocates(self) -> bool:
        """Whether automatic addresses are assigned here, as nobody writes them; fixed for the life of the process."""
        return self._registry.allocates

    @property
    def cluster_id(self) -> str:
        """The id of the Kubernetes cluster that the core objects come from; fixed for the life of the process."""
        return self._registry.cluster_id

    @property
    def environment(self) -> Mapping[str, str]:
        """The control plane's environment variables; fixed for the life of the process."""
        return self._registry.environment


class Registry:
    """All objects, by key. ``revision`` counts the change sets that changed something.

    ``allocates`` says that nobody writes automatic addresses into the status of ServiceEntries, so they are assigned.
    ``frontends`` read foreign kinds; without them they mean nothing.
    ``environment`` are the control plane's variables, to which the mesh configuration may refer.
    """

    def __init__(
        self,
        domain: str = "cluster.local",
        cluster_id: str = "Kubernetes",
        *,
        allocates: bool = True,
        environment: Mapping[str, str] = MappingProxyType({}),
        frontends: Frontends = NO_FRONTENDS,
    ) -> None:
        self.frontends = frontends
        self.allocates = allocates
        self.environment = environment
        self.domain = domain
        self.cluster_id = cluster_id
        self.revision = 0
        self.objects: dict[ObjectKey, Object] = {}
        self.memo = Memo(lambda _memo: View(self))
        self._kinds: dict[GroupKind, _Keys] = {}
        self._indexes: dict[str, dict[Hashable, _Keys]] = {name: {} for indexes in INDEXES.values() for name in indexes}

    def keys(self, kind: GroupKind) -> tuple[ObjectKey, ...]:
        """Return the keys of a kind, sorted. Outside queries only: reads here are not recorded."""
        held = self._kinds.get(kind)
        return held.all() if held is not None else ()

    def indexed(self, name: str, key: Hashable) -> tuple[ObjectKey, ...]:
        """Return the keys in an index, sorted. Outside queries only: reads here are not recorded."""
        held = self._indexes[name].get(key)
        return held.all() if held is not None else ()

    def apply(self, changes: ChangeSet) -> frozenset[Fact]:
        """Store and drop objects; return the facts that changed. An equal object changes nothing."""
        facts: set[Fact] = set()
        for obj in changes.upserts:
            before = self.objects.get(obj.key)
            if before != obj:
                self._replace(obj.key, before, obj, facts)
            elif before is not None:
                self.objects[obj.key] = obj  # generation and source may be newer
        for key in changes.deletes:
            before = self.objects.get(key)
            if before is not None:
                self._replace(key, before, None, facts)
        if facts:
            self.revision += 1
        return frozenset(facts)

    def _replace(self, key: ObjectKey, before: Object | None, after: Object | None, facts: set[Fact]) -> None:
        try:
            moves = [
                (name, set(keys_of(before)) if before is not None else set(), set(keys_of(after)) if after else set())
                for name, keys_of in INDEXES.get(key.kind, {}).items()
            ]
        except Exception:  # our bug: it costs this change of this object
            log.exception("registry.index_failed", object=str(key))
            return
        facts.add(Fact("object", key))
        if after is None:
            del self.objects[key]
        else:
            self.objects[key] = after
        if before is None or after is None:
            self._file(self._kinds, key.kind, key, present=after is not None)
            facts.add(Fact("kind", key.kind))
        for name, old, new in moves:
            index = self._indexes[name]
            for changed in old ^ new:
                self._file(index, changed, key, present=changed in new)
                facts.add(Fact(name, changed))

    @staticmethod
    def _file(index: dict[Any, _Keys], under: Hashable, key: ObjectKey, *, present: bool) -> None:
        """Put a key into an index, or take it out."""
        held = index.get(under)
        if present:
            if held is None:
                held = index[under] = _Keys()
            held.add(key)
        elif held is not None:
            held.discard(key)
            if not held:
                del index[under]
