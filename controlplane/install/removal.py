"""Takes an installation away: one revision, or everything that is or was made by any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from controlplane.install.apply import NotReadyError, labelled
from controlplane.install.cluster import Cluster, Ref, Resource, deletable
from controlplane.install.plan import MANAGED_BY, NAMESPACE, OURS, PART_OF, REVISION
from controlplane.watchers.kubernetes.errors import RefusedError

Json = dict[str, Any]
Say = Callable[[str], None]

ISTIO_GROUPS = ("networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io")
_MADE_BY_US = (
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "istio-ca-crl"),
    ("Secret", "istio-ca-secret"),
    ("Secret", "istio-ca-handover"),
)
"""What the control plane makes while it runs; ConfigMaps are in every namespace."""
_LEASES = (
    "istio-analyze-leader",
    "controlplane-events",
    "istio-ip-autoallocate",
    "istio-leader",
    "istio-namespace-controller-election",
    "istio-node-untaint",
    "istio-workload-entry-cleanup",
)
_HELM = "Helm"
_LAST = ("CustomResourceDefinition", "Namespace")
_FIRST = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_PAUSE = 0.2
_GONE_SECONDS = 120.0


async def of_revision(cluster: Cluster, revision: str) -> list[Ref]:
    """Return what belongs to one revision; definitions, namespaces and roots are of all revisions and stay."""
    selector = f"{PART_OF}={OURS},{REVISION}={revision},{MANAGED_BY}!={_HELM}"
    return _in_order(await labelled(cluster, selector))


async def of_all(cluster: Cluster) -> list[Ref]:
    """Return everything that an installation made, or a control plane while it ran."""
    found = await labelled(cluster, f"{PART_OF}={OURS},{MANAGED_BY}!={_HELM}")
    return _in_order(list(dict.fromkeys(found + await _made_by_control_planes(cluster))))


async def _made_by_control_planes(cluster: Cluster) -> list[Ref]:
    found = []
    for kind, name in _MADE_BY_US:
        resource = await _core(cluster, kind)
        objects = await cluster.listed(resource, namespace="" if kind == "ConfigMap" else NAMESPACE)
        found += [Ref.of(each) for each in objects if each["metadata"]["name"] == name]
    lease = next(each for each in await cluster.resources() if each.kind == "Lease")
    for each in await cluster.listed(lease, namespace=NAMESPACE):
        name = each["metadata"]["name"]
        if name in _LEASES or (name.startswith("istiod-") and name.endswith("-validator")):
            found.append(Ref.of(each))
    return found


async def of_helm(cluster: Cluster) -> list[Ref]:
    """Return what Helm installed: it is Helm's to take away."""
    return await labelled(cluster, f"{PART_OF}={OURS},{MANAGED_BY}={_HELM}")


async def configuration(cluster: Cluster) -> list[Ref]:
    """Return the users' own objects of Istio's kinds, which go with their definitions."""
    kinds = [each for each in deletable(await cluster.resources()) if each.group in ISTIO_GROUPS]
    return [Ref.of(obj) for each in kinds for obj in await cluster.listed(each)]


async def remove(cluster: Cluster, refs: Sequence[Ref], say: Say) -> None:
    """Delete objects, those that hold others last, and wait until they are gone.

    Raises:
        NotReadyError: one of them does not go in time: something holds it.
    """
    last = [each for each in refs if each.kind in _LAST]
    await _remove(cluster, [each for each in refs if each.kind not in _LAST], say)
    if last:  # a control plane that ended only now may have made these again
        await _remove(cluster, await _made_by_control_planes(cluster), say)
    await _remove(cluster, last, say)


async def _remove(cluster: Cluster, refs: Sequence[Ref], say: Say) -> None:
    for ref in refs:
        try:
            if await cluster.delete(ref):
                say(f"  removed {ref}")
        except RefusedError as error:
            raise RefusedError(error.code, f"{ref} cannot be removed: {error.message}") from error
    deadline = time.monotonic() + _GONE_SECONDS
    for ref in refs:
        while (left := await cluster.read(ref)) is not None and left["metadata"].get("deletionTimestamp"):
            if time.monotonic() >= deadline:
                held = ", ".join(left["metadata"].get("finalizers") or ["what is in it"])
                raise NotReadyError(f"{ref} is still there: it waits for {held}")
            await asyncio.sleep(_PAUSE)


async def _core(cluster: Cluster, kind: str) -> Resource:
    return next(each for each in await cluster.resources() if each.kind == kind and not each.group)


def _in_order(refs: list[Ref]) -> list[Ref]:
    """Webhooks go first, so that nothing is asked of who is gone; what holds other things goes last."""

    def place(ref: Ref) -> int:
        return -1 if ref.kind in _FIRST else 1 + _LAST.index(ref.kind) if ref.kind in _LAST else 0

    return sorted(refs, key=place)
