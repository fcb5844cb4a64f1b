"""Why an object of a cluster is not ready yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

WORKLOADS = ("Deployment", "DaemonSet")
WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def unready(obj: Json) -> str:
    """Return what is missing, in a few words; empty where it is ready, or of a kind that always is."""
    match obj["kind"]:
        case "CustomResourceDefinition":
            return _definition(obj)
        case "Deployment":
            return _deployment(obj)
        case "DaemonSet":
            return _daemon_set(obj)
        case kind if kind in WEBHOOKS:
            return _webhooks(obj)
        case _:
            return ""


def pod_problems(pods: Sequence[Json]) -> list[str]:
    """Return why pods do not run, one sentence for each pod that says why."""
    found = []
    for pod in pods:
        reasons = list(dict.fromkeys(_pod_reasons(pod)))
        if reasons:
            found.append(f"pod {pod['metadata']['name']}: {'; '.join(reasons)}")
    return found


def _definition(obj: Json) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    served = any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)
    return "" if served else "it is not served yet"


def _deployment(obj: Json) -> str:
    status, wanted = obj.get("status") or {}, (obj.get("spec") or {}).get("replicas", 1)
    if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
        return "it has not been looked at yet"
    updated, ready = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} replicas are new"
    if status.get("replicas", 0) > updated:
        return f"{status['replicas'] - updated} old replicas are still there"
    return "" if ready >= wanted else f"{ready} of {wanted} replicas are ready"


def _daemon_set(obj: Json) -> str:
    status = obj.get("status") or {}
    if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
        return "it has not been looked at yet"
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    if status.get("updatedNumberScheduled", 0) < wanted:
        return f"{status.get('updatedNumberScheduled', 0)} of {wanted} pods are new"
    return "" if ready >= wanted else f"{ready} of {wanted} pods are ready"


def _webhooks(obj: Json) -> str:
    silent = [
        each["name"]
        for each in obj.get("webhooks") or ()
        if "service" in each["clientConfig"] and not each["clientConfig"].get("caBundle")
    ]
    return f"the control plane has not written its certificate to {silent[0]} yet" if silent else ""


def _pod_reasons(pod: Json) -> list[str]:
    status = pod.get("status") or {}
    reasons = [
        str(each.get("message") or each.get("reason"))
        for each in status.get("conditions") or ()
        if each.get("type") == "PodScheduled" and each.get("status") == "False"
    ]
    for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            said = " ".join(str(waiting.get("message") or "").split())
            reasons.append(f"{each['name']}: {waiting['reason']}" + (f": {said}" if said else ""))
    return reasons
