"""Istio's objects written as Kubernetes has them."""

from __future__ import annotations

from typing import Any

from controlplane.apis.common import ApiModel
from controlplane.apis.kinds import KINDS
from controlplane.model.objects import Object


def manifest_order(obj: Object) -> tuple[str, ...]:
    """Return what lists of objects are sorted by: group, kind, namespace, name, cluster."""
    kind, namespace, name, cluster = obj.key
    return (kind.group, kind.name, namespace, name, cluster)


def manifest(obj: Object) -> dict[str, Any]:
    """Return one object of a kind of Istio's: in the newest API version, with the fields that its author stated."""
    meta, kind = obj.meta, KINDS[obj.kind.name]
    spec: ApiModel = obj.spec
    metadata: dict[str, Any] = {"name": meta.name, "namespace": meta.namespace}
    stated = {
        "creationTimestamp": meta.created,
        "generation": meta.generation,
        "labels": dict(meta.labels),
        "annotations": dict(meta.annotations),
    }
    return {
        "kind": kind.name,
        "apiVersion": f"{kind.group}/{kind.versions[0]}",
        "metadata": metadata | {name: value for name, value in stated.items() if value},
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }
