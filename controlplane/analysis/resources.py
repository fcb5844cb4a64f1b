"""What is analysed: objects of all kinds as they were written, and the mesh configuration for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

from controlplane.analysis import raw
from controlplane.analysis.codes import Code
from controlplane.apis.kinds import KINDS
from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.documents.pieces import Place
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Object
from controlplane.model.parse import Parsed, parse

DEFAULT_NAMESPACE = "default"
CLUSTER_KINDS = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "GatewayClass",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    }
)
"""Kinds that are known to have no namespace, whatever is written."""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One object as it was written.

    ``namespace`` is empty for what belongs to a whole cluster. ``place`` is where it was written, ``None`` where it
    comes from a cluster; ``cluster`` names that one, empty where there is only one.
    """

    kind: GroupKind
    namespace: str
    name: str
    written: Mapping[str, Any]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    place: Place | None = None
    cluster: str = ""

    @property
    def full_name(self) -> str:
        """``namespace/name``, or the name alone."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def origin(self) -> str:
        """How people are told of it: ``Kind namespace/name``."""
        return f"{self.kind.name} {self.full_name}"

    @property
    def spec(self) -> Mapping[str, Any]:
        """The ``spec``, empty where there is none."""
        return raw.mapping(self.written, "spec")


def resource(written: Mapping[str, Any], place: Place | None, *, namespace: str, cluster: str = "") -> Resource | None:
    """Return the object that a mapping is; ``None`` where it has no kind or no name.

    ``namespace`` is that of an object that names none.
    """
    kind, name = raw.text(written, "kind"), raw.text(written, "metadata", "name")
    if not kind or not name:
        return None
    group = raw.text(written, "apiVersion").rpartition("/")[0]
    stated = raw.text(written, "metadata", "namespace")
    return Resource(
        GroupKind(kind, group),
        "" if kind in CLUSTER_KINDS else stated or namespace,
        name,
        written,
        raw.string_map(written, "metadata", "labels"),
        raw.string_map(written, "metadata", "annotations"),
        place,
        cluster,
    )


class Message(NamedTuple):
    """One finding: what, about which object, in which field (empty: the whole object).

    ``written`` is where the object was written, ``file:line``, where its ``place`` is not known.
    """

    code: Code
    resource: Resource
    text: str
    path: str = ""
    written: str = ""


def message(code: Code, about: Resource, path: str = "", **values: object) -> Message:
    """Return a finding whose sentence is filled in; lists are written with commas."""
    shown = {name: ", ".join(map(str, each)) if isinstance(each, list) else each for name, each in values.items()}
    return Message(code, about, code.sentence.format(**shown), path)


@dataclass(frozen=True, slots=True)
class Mesh:
    """The configuration of the whole mesh, and the object that states its networks.

    ``stated`` is set where somebody has stated the configuration: what it lacks is known to be lacking then.
    """

    config: MeshConfig = field(default_factory=MeshConfig)
    networks: MeshNetworks = field(default_factory=MeshNetworks)
    networks_written: Resource | None = None
    stated: bool = False


T = TypeVar("T")


class Labelled(Generic[T]):
    """Values with labels, asked for those that a selector selects; a selector looks at the few that may fit."""

    def __init__(self, entries: Iterable[tuple[Mapping[str, str], T]]) -> None:
        """Take the labels of each value."""
        self._all = list(entries)
        self._by_label: defaultdict[tuple[str, str], list[tuple[Mapping[str, str], T]]] = defaultdict(list)
        for entry in self._all:
            for label in entry[0].items():
                self._by_label[label].append(entry)

    def selected(self, selector: Mapping[str, str]) -> list[T]:
        """Return the values that have all labels, in their order."""
        some = (self._by_label.get(label, []) for label in selector.items())
        fewest = min(some, key=len, default=self._all)
        return [value for labels, value in fewest if has_labels(labels, selector)]


class UnreadableKindError(Exception):
    """Somebody asks for objects of a kind that may not be read."""

    def __init__(self, kind: GroupKind) -> None:
        super().__init__(kind.name)
        self.kind = kind


class Resources:
    """All objects of an analysis by kind, name and namespace; a later one of the same name takes an earlier's place."""

    def __init__(
        self,
        objects: Iterable[Resource],
        mesh: Mesh,
        *,
        domain: str = "cluster.local",
        unreadable: Iterable[GroupKind] = (),
    ) -> None:
        """Take the objects, of one or of several clusters; ``domain`` is that of Kubernetes' services.

        Of the kinds that are ``unreadable`` nobody knows whether there are any.
        """
        self._unreadable = frozenset(unreadable)
        by_key = {(each.kind, each.cluster, each.namespace, each.name): each for each in objects}
        self.mesh = mesh
        self.domain = domain
        self._by_kind: defaultdict[GroupKind, list[Resource]] = defaultdict(list)
        self._by_name: dict[tuple[GroupKind, str, str], Resource] = {}
        self._in_namespace: defaultdict[tuple[GroupKind, str], list[Resource]] = defaultdict(list)
        for key in sorted(by_key):
            each = by_key[key]
            self._by_kind[each.kind].append(each)
            self._in_namespace[each.kind, each.namespace].append(each)
            self._by_name.setdefault((each.kind, each.namespace, each.name), each)
        self._pods = Labelled((pod.labels, pod) for pod in self._by_kind.get(kinds.POD, ()))

    def __iter__(self) -> Iterator[Resource]:
        """Yield all objects, by kind and name."""
        for kind in sorted(self._by_kind):
            yield from self._by_kind[kind]

    def of(self, kind: GroupKind) -> list[Resource]:
        """Return the objects of a kind, sorted by cluster, namespace and name.

        Raises:
            UnreadableKindError: they are not known.
        """
        if kind in self._unreadable:
            raise UnreadableKindError(kind)
        return self._by_kind.get(kind, [])

    def find(self, kind: GroupKind, namespace: str, name: str) -> Resource | None:
        """Return one object, ``None`` where it is not there.

        Raises:
            UnreadableKindError: that is not known.
        """
        if kind in self._unreadable:
            raise UnreadableKindError(kind)
        return self._by_name.get((kind, namespace, name))

    @cached_property
    def usable(self) -> tuple[tuple[Resource, Object], ...]:
        """The objects of Istio's kinds that can be used, as they were written and as they are read.

        Those of other clusters are left out. Raises as ``of`` does.
        """
        found = []
        for name in KINDS:
            for each in self.of(kinds.istio_kind(name)):
                parsed = parse(name, each.written) if not each.cluster else None
                if isinstance(parsed, Parsed):
                    found.append((each, parsed.object))
        return tuple(found)

    def within(self, kind: GroupKind, namespace: str) -> list[Resource]:
        """Return the objects of a kind in a namespace; raises as ``of`` does."""
        return self._in_namespace.get((kind, namespace), []) if self.of(kind) else []

    def selected_pods(self, selector: Mapping[str, str], namespace: str | None = None) -> list[Resource]:
        """Return the pods, of a namespace or of all, that have the labels; raises as ``of`` does."""
        self.of(kinds.POD)
        return [pod for pod in self._pods.selected(selector) if namespace is None or pod.namespace == namespace]


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether labels include all of a selector; every object has those of an empty one."""
    return all(labels.get(key) == value for key, value in wanted.items())


def selector_text(selector: Mapping[str, str]) -> str:
    """Write a selector as kubectl takes it: ``app=web,version=v1``."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
