"""Which policies apply to a workload: one table of how the kinds of policy select, and the one way to attach them.

A policy without selector is for its namespace, or for all of them where it stands in the mesh's root namespace.
``targetRefs`` name the Gateway of the Gateway API whose pods a policy is for; those carry its name in a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from controlplane.apis.common import PolicyTargetReference
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.kinds import GATEWAY_API, GroupKind
from controlplane.model.objects import Object
from controlplane.model.proxy_class import LabelPairs
from controlplane.registry.mesh import mesh_config
from controlplane.registry.store import View

GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
"""The label of the pods of a Gateway of the Gateway API: its name."""


class WorkloadKey(NamedTuple):
    """A workload, as far as policies tell workloads apart: of its labels those of ``policy_pairs``."""

    namespace: str
    labels: LabelPairs


class PolicyKind(NamedTuple):
    """How policies of one kind are found: the index ``by_namespace`` holds them.

    ``root_selects`` is true where a selector in the root namespace selects workloads of every namespace; ``root_first``
    where those of the root namespace come before the workload's own.
    """

    by_namespace: str
    root_selects: bool = True
    root_first: bool = True


POLICY_KINDS: Mapping[GroupKind, PolicyKind] = {
    kinds.PEER_AUTHENTICATION: PolicyKind("peer_authentications_in", root_selects=False),
    kinds.REQUEST_AUTHENTICATION: PolicyKind("request_authentications_in", root_first=False),
    kinds.AUTHORIZATION_POLICY: PolicyKind("authorization_policies_in"),
}


def policies_in(view: View, kind: GroupKind, namespace: str) -> Iterator[Object]:
    """Yield the policies of a kind that stand in a namespace, by name."""
    for key in view.index(POLICY_KINDS[kind].by_namespace, namespace):
        obj = view.get(key)
        if obj is not None:
            yield obj


def selector(obj: Object) -> Mapping[str, str]:
    """Return the labels that a policy selects by; empty where it selects everything of its namespace."""
    stated = obj.spec.selector
    return stated.match_labels if stated is not None else {}


def targets(spec: Any) -> tuple[PolicyTargetReference, ...]:  # noqa: ANN401 - the model of any kind of policy
    """Return what a policy is attached to by name; ``targetRefs`` goes before the single ``targetRef``."""
    several: tuple[PolicyTargetReference, ...] = getattr(spec, "target_refs", ())
    single: PolicyTargetReference | None = getattr(spec, "target_ref", None)
    return several or ((single,) if single is not None else ())


@query
def policy_pairs(view: View, namespace: str) -> LabelPairs:
    """Return the label pairs by which policies tell the workloads of a namespace apart."""
    root = mesh_config(view).root_namespace
    pairs: set[tuple[str, str]] = set()
    for kind, how in POLICY_KINDS.items():
        for level in {namespace, root} if how.root_selects else {namespace}:
            for obj in policies_in(view, kind, level):
                pairs.update(selector(obj).items())
                pairs.update((GATEWAY_NAME, target.name) for target in _gateways(targets(obj.spec)))
    return frozenset(pairs)


def gateway_names(obj: Object) -> Iterator[tuple[str, str]]:
    """Yield the label pairs of the pods of Gateways of its own namespace that an object is attached to by name."""
    for target in _gateways(targets(obj.spec)):
        if target.namespace in ("", obj.meta.namespace):
            yield GATEWAY_NAME, target.name


def _gateways(references: Iterable[PolicyTargetReference]) -> Iterator[PolicyTargetReference]:
    return (each for each in references if (each.group, each.kind) == (GATEWAY_API, "Gateway"))


def attached(view: View, kind: GroupKind, key: WorkloadKey) -> tuple[Object, ...]:
    """Return the policies that apply to a workload: by namespace in the order of the kind, there by age."""
    root = mesh_config(view).root_namespace
    levels = (root, key.namespace) if POLICY_KINDS[kind].root_first else (key.namespace, root)
    return tuple(
        obj
        for namespace in dict.fromkeys(levels)
        for obj in sorted(policies_in(view, kind, namespace), key=lambda obj: obj.age_order)
        if applies(obj, key)
    )


def applies(obj: Object, key: WorkloadKey) -> bool:
    """Whether a policy is for a workload, should it stand in a namespace that counts for it."""
    named = targets(obj.spec)
    if not named:
        return key.labels.issuperset(selector(obj).items())
    return obj.meta.namespace == key.namespace and any(pair in key.labels for pair in gateway_names(obj))
