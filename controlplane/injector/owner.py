"""Whose pod it is: the workload that a person wrote, found through the controllers between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import re2

_CRON_JOB = re2.compile(r"(.+)-[0-9]{8,10}")


@dataclass(frozen=True, slots=True)
class Owner:
    """A workload: ``Deployment`` ``apps/v1`` of this name. ``namespace`` is empty where nobody knows it."""

    api_version: str
    kind: str
    name: str
    namespace: str


def owner(pod: Mapping[str, Any], namespace: str) -> Owner:
    """Return the workload behind a pod, else the pod itself.

    Only the name of a ReplicaSet or a Job says that a Deployment or a CronJob made it: it ends in the pod's hash, or in
    the time of the run. ``namespace`` is the one that the pod is made in.
    """
    metadata = pod.get("metadata") or {}
    name = str(metadata.get("name") or "")
    found = Owner("v1", "Pod", name, str(metadata.get("namespace") or namespace))
    if not metadata.get("generateName"):
        return found
    controllers = [each for each in metadata.get("ownerReferences") or () if each.get("controller") is True]
    if not controllers:
        return found
    controller = controllers[0]
    api_version, kind = str(controller.get("apiVersion") or ""), str(controller.get("kind") or "")
    return _behind(Owner(api_version, kind, str(controller.get("name") or "") or name, found.namespace), metadata)


def _behind(controller: Owner, metadata: Mapping[str, Any]) -> Owner:
    labels = metadata.get("labels") or {}
    match controller.kind:
        case "ReplicaSet":
            for label, kind, api_version in (
                ("pod-template-hash", "Deployment", controller.api_version),
                ("rollouts-pod-template-hash", "Rollout", "v1alpha1"),
            ):
                ending = labels.get(label)
                if ending and controller.name.endswith(ending):
                    return Owner(api_version, kind, controller.name.removesuffix(f"-{ending}"), controller.namespace)
        case "ReplicationController":
            if labels.get("deploymentconfig"):
                return Owner(
                    controller.api_version, "DeploymentConfig", labels["deploymentconfig"], controller.namespace
                )
        case "Job":
            if run := _CRON_JOB.fullmatch(controller.name):
                return Owner("batch/v1", "CronJob", run[1], controller.namespace)
    return controller
