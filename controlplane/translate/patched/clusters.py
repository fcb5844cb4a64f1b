"""Clusters with the patches that are for them, and those that patches add."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.message import Message

from controlplane.apis.envoy_filter import ApplyTo, PatchOperation
from controlplane.constraints.checker import Fault, Faults, faults
from controlplane.engine.recording import Query
from controlplane.model.patches import PatchRef, PatchRefs
from controlplane.patches.clusters import cluster_steps, matches_cluster
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.patched.added import added_message
from controlplane.translate.patched.built import Built, built
from controlplane.translate.patched.net import patched
from controlplane.translate.patched.reading import aim, held
from controlplane.translate.patched.references import cluster_references


class PatchedCluster(NamedTuple):
    """A cluster as it is built, and the patches for it."""

    cluster: Built
    refs: PatchRefs


def meant_for(view: View, refs: PatchRefs, name: str, hosts: Collection[str] = ()) -> PatchRefs:
    """Return the patches that change the cluster of this name; ``hosts`` as for ``matches_cluster``."""
    return tuple(
        ref
        for ref in refs
        if (found := aim(view, ref)) is not None
        and found.operation is not PatchOperation.ADD
        and matches_cluster(found.match.cluster, name, hosts)
    )


def renames(view: View, refs: PatchRefs) -> bool:
    """Whether one of these patches may give a cluster another name."""
    return any((found := aim(view, ref)) is not None and found.name for ref in refs)


def _patched_cluster(view: View, key: PatchedCluster) -> Resource | None:
    resource = built(view, key.cluster)
    if resource is None:
        return None
    cluster = Cluster.FromString(resource.body)
    patches = held(view, key.refs)

    def check(message: Message) -> Faults:
        named: Any = message
        if not named.name:
            return [Fault("name", "is required")]
        return faults(message)

    draft = patched(view, patches, cluster, cluster_steps([each.patch for each in patches]), check)
    if draft.gone:
        return None
    if draft.message == cluster:
        return resource
    changed: Any = draft.message
    body = changed.SerializeToString(deterministic=True)
    return Resource.of(ResourceType.CLUSTER, changed.name, body, cluster_references(changed))


patched_cluster: Query[PatchedCluster, Resource | None] = Query(_patched_cluster, isolated=True)
"""One cluster with its patches; ``None`` where one of them removes it."""
patched_cluster.name = "patched_cluster"


def _added_cluster(view: View, ref: PatchRef) -> Resource | None:
    cluster = added_message(view, ref, ApplyTo.CLUSTER)
    if cluster is None:
        return None
    return Resource.of(
        ResourceType.CLUSTER, cluster.name, cluster.SerializeToString(deterministic=True), cluster_references(cluster)
    )


added_cluster: Query[PatchRef, Resource | None] = Query(_added_cluster, isolated=True)
"""The cluster that a patch adds; ``None`` where Envoy would refuse it."""
added_cluster.name = "added_cluster"
