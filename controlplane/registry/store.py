"""Objects by key with secondary indexes, and the recorded view of them."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from controlplane.model.kubernetes import KubeService
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.registry.memo import Memo, Recorder


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


def _selected_pair(obj: Object) -> Iterable[Hashable]:
    """One pair of a Service's selector stands for it: what the selector selects has that one too."""
    if not isinstance(obj.spec, KubeService) or not obj.spec.selector:
        return ()
    return ((obj.meta.namespace, *min(obj.spec.selector.items())),)


#: kind -> index name -> keys of an object in it
INDEXES: dict[str, dict[str, IndexKeys]] = {
    "EndpointSlice": {"slices_of": _slice_service, "slices_with": _slice_addresses},
    "Pod": {"pods_in": _namespace, "pods_with": lambda obj: obj.spec.ips},
    "Service": {"services_selecting": _selected_pair},
    "ServiceEntry": {
        "entries_in": _namespace,
        "entries_with": lambda obj: {endpoint.address for endpoint in obj.spec.endpoints if endpoint.address},
        "entries_for": lambda obj: {(obj.meta.namespace, host.lower()) for host in obj.spec.hosts},
    },
    "WorkloadEntry": {"workload_entries_in": _namespace, "workload_entries_with": lambda obj: (obj.spec.address,)},
    "DestinationRule": {"destination_rules_in": _namespace},
    "Sidecar": {"sidecars_in": _namespace},
    "PeerAuthentication": {"peer_authentications_in": _namespace},
}


class View(Recorder):
    """Reads of the registry, recorded; an absent answer is recorded too: it may appear later."""

    __slots__ = ("_registry",)

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry.memo)
        self._registry = registry

    def object(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return one object, or ``None``."""
        return self.get(ObjectKey(kind, namespace, name))

    def get(self, key: ObjectKey) -> Object | None:
        """Return one object by its key, or ``None``."""
        self.record(Fact("object", key))
        return self._registry.objects.get(key)

    def keys(self, kind: str) -> tuple[ObjectKey, ...]:
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
    ``environment`` are the control plane's variables, to which the mesh configuration may refer.
    """

    def __init__(
        self,
        domain: str = "cluster.local",
        cluster_id: str = "Kubernetes",
        *,
        allocates: bool = True,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.allocates = allocates
        self.environment = environment
        self.domain = domain
        self.cluster_id = cluster_id
        self.revision = 0
        self.objects: dict[ObjectKey, Object] = {}
        self.memo = Memo(lambda _memo: View(self))
        self._kinds: defaultdict[str, list[ObjectKey]] = defaultdict(list)
        self._indexes: dict[str, dict[Hashable, tuple[ObjectKey, ...]]] = {
            name: {} for indexes in INDEXES.values() for name in indexes
        }

    def keys(self, kind: str) -> tuple[ObjectKey, ...]:
        """Return the keys of a kind, sorted. Outside queries only: reads here are not recorded."""
        return tuple(self._kinds.get(kind, ()))

    def indexed(self, name: str, key: Hashable) -> tuple[ObjectKey, ...]:
        """Return the keys in an index, sorted. Outside queries only: reads here are not recorded."""
        return self._indexes[name].get(key, ())

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
        facts.add(Fact("object", key))
        kind = self._kinds[key.kind]
        if before is None:
            bisect.insort(kind, key)
            facts.add(Fact("kind", key.kind))
        if after is None:
            kind.pop(bisect.bisect_left(kind, key))
            self.objects.pop(key, None)
            facts.add(Fact("kind", key.kind))
        else:
            self.objects[key] = after
        for name, keys_of in INDEXES.get(key.kind, {}).items():
            old: set[Any] = set(keys_of(before)) if before is not None else set()
            new: set[Any] = set(keys_of(after)) if after is not None else set()
            index = self._indexes[name]
            for gone in old - new:
                left = tuple(other for other in index[gone] if other != key)
                if left:
                    index[gone] = left
                else:
                    del index[gone]
            for added in new - old:
                held = index.get(added, ())
                at = bisect.bisect_left(held, key)
                index[added] = (*held[:at], key, *held[at:])
            facts.update(Fact(name, changed) for changed in old ^ new)
