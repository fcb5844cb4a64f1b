"""Objects for workloads by labels that no workload has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.selecting import OF_ITS_NAMESPACE, selected
from controlplane.registry.mesh import mesh_config
from controlplane.registry.store import View

Labels = frozenset[tuple[str, str]]
_WORKLOADS = ((kinds.POD, "pods_in"), (kinds.WORKLOAD_ENTRY, "workload_entries_in"))


class ForNobody(NamedTuple):
    """An object, the ``path`` of its selector, the labels, and the namespace in which nobody has them; empty: all."""

    key: ObjectKey
    path: str
    labels: Labels
    namespace: str

    @property
    def where(self) -> str:
        """Where such workloads were looked for, in words."""
        return f"of namespace {self.namespace}" if self.namespace else "of any namespace"

    @property
    def text(self) -> str:
        """The labels as kubectl takes them."""
        return ",".join(f"{name}={value}" for name, value in sorted(self.labels))

    def is_for(self, namespace: str, labels: Iterable[tuple[str, str]]) -> bool:
        """Whether the object is for a workload there with these labels."""
        return self.namespace in {"", namespace} and self.labels.issubset(labels)


@query
def workload_labels(view: View, namespace: str) -> frozenset[Labels]:
    """Return the sets of labels that Pods and WorkloadEntries of a namespace have."""
    found = set()
    for _, index in _WORKLOADS:
        for key in view.index(index, namespace):
            if (obj := view.get(key)) is not None:
                more = obj.spec.labels.items() if key.kind == kinds.WORKLOAD_ENTRY else ()
                found.add(frozenset({**obj.meta.labels, **dict(more)}.items()))
    return frozenset(found)


@query
def workload_namespaces(view: View, _key: tuple[()]) -> frozenset[str]:
    """Return the namespaces that have a Pod or a WorkloadEntry; none where nobody says which workloads there are."""
    return frozenset(key.namespace for kind, _ in _WORKLOADS for key in view.keys(kind))


@query
def somebody_has(view: View, labels: Labels) -> bool:
    """Whether a workload of any namespace has these labels; asked once for all objects that name the same."""
    namespaces = sorted(workload_namespaces(view, ()))
    return any(labels <= held for namespace in namespaces for held in workload_labels(view, namespace))


@query
def for_nobody(view: View, key: ObjectKey) -> ForNobody | None:
    """Return that nobody has the labels that an object names, ``None`` where somebody has or it names none.

    What is in the root namespace is for workloads of all namespaces, but for kinds that never select others.
    """
    obj = view.get(key)
    named = selected(key.kind, obj.spec) if obj is not None else None
    if named is None:
        return None
    everywhere = key.kind not in OF_ITS_NAMESPACE and key.namespace == mesh_config(view).root_namespace
    wanted = frozenset(named.labels.items())
    if (
        somebody_has(view, wanted)
        if everywhere
        else any(wanted <= held for held in workload_labels(view, key.namespace))
    ):
        return None
    return ForNobody(key, named.path, wanted, "" if everywhere else key.namespace)


def selecting(view: View) -> tuple[ObjectKey, ...]:
    """Return the objects that name labels of workloads."""
    return view.index("selecting", ())
