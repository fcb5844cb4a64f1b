"""Objects that have a pod in them: where it stands, and the object with its pod injected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from controlplane.injector.containers import annotations_of, labels_of
from controlplane.injector.decision import Decision, decision
from controlplane.injector.errors import InjectionError
from controlplane.injector.injected import injected
from controlplane.injector.owner import Owner
from controlplane.injector.settings import Settings
from controlplane.injector.shape import check_pod

Json = dict[str, Any]

_TEMPLATE = ("spec", "template")
_KINDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("v1", "Pod"): (),
    ("v1", "ReplicationController"): _TEMPLATE,
    ("apps/v1", "DaemonSet"): _TEMPLATE,
    ("apps/v1", "Deployment"): _TEMPLATE,
    ("apps/v1", "ReplicaSet"): _TEMPLATE,
    ("apps/v1", "StatefulSet"): _TEMPLATE,
    ("apps.openshift.io/v1", "DeploymentConfig"): _TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
    ("batch/v1", "Job"): _TEMPLATE,
}
"""Where the pod of each kind stands; other kinds, and other versions, are left alone."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object with a pod that is left alone, and why."""

    name: str
    decision: Decision

    def __str__(self) -> str:
        return f"Skipping injection because {self.name} {self.decision.value}"


def injected_object(obj: Json, settings: Settings) -> tuple[Json, list[Skipped]]:
    """Return an object with its pod injected, and what was left alone; the very object where nothing changes.

    Of a List that is each of its items.

    Raises:
        InjectionError: it cannot be injected; says which object, and why.
    """
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if kind == "List" and version == "v1":
        return _injected_list(obj, settings)
    path = _KINDS.get((str(version), str(kind)))
    if path is None:
        return obj, []
    name = _name(obj)
    try:
        return _injected(obj, path, settings, name)
    except InjectionError as error:
        raise InjectionError(f"{name}: {error}") from error


def _injected_list(obj: Json, settings: Settings) -> tuple[Json, list[Skipped]]:
    items = obj.get("items")
    if items is not None and not isinstance(items, list):
        raise InjectionError("List: items: must be a list")
    found, skipped = [], []
    for item in items or ():
        result, left = injected_object(item, settings) if isinstance(item, dict) else (item, [])
        found.append(result)
        skipped += left
    if all(new is old for new, old in zip(found, items or (), strict=True)):
        return obj, skipped
    return {**obj, "items": found}, skipped


def _injected(obj: Json, path: tuple[str, ...], settings: Settings, name: str) -> tuple[Json, list[Skipped]]:
    metadata = obj.get("metadata") or {}
    check_pod({"metadata": metadata})
    pod = _pod(obj, path)
    if not path:
        workload = None
    else:
        place = str(metadata.get("namespace") or "")
        workload = Owner(str(obj["apiVersion"]), str(obj["kind"]), str(metadata.get("name") or ""), place)
    check_pod(pod, ".".join(path))
    own = str((pod.get("metadata") or {}).get("namespace") or "")
    found = decision(pod, own, settings.config)
    if found is not Decision.INJECTED:
        return obj, [Skipped(name, found)]
    namespace = str(metadata.get("namespace") or settings.namespace)
    result = injected(pod, replace(settings, namespace=namespace), workload)
    return _with_pod(obj, path, pod, result), []


def _pod(obj: Json, path: tuple[str, ...]) -> Json:
    """Return the pod; that of a CronJob with the metadata of its Job's template, too."""
    if not path:
        return obj
    value: Any = obj
    for at, step in enumerate(path):
        value = value.get(step)
        if value is None:
            if obj["kind"] == "ReplicationController":
                raise InjectionError(f"{'.'.join(path[: at + 1])} is required value")
            value = {}
        if not isinstance(value, dict):
            raise InjectionError(f"{'.'.join(path[: at + 1])}: must be a map")
    template: Json = value
    if obj["kind"] != "CronJob":
        return template
    check_pod(template, ".".join(path))
    job = (obj.get("spec") or {}).get("jobTemplate") or {}
    check_pod({"metadata": job.get("metadata")}, "spec.jobTemplate")
    metadata = {
        **(template.get("metadata") or {}),
        "labels": labels_of(job) | labels_of(template),
        "annotations": annotations_of(job) | annotations_of(template),
    }
    return {**template, "metadata": metadata}


def _with_pod(obj: Json, path: tuple[str, ...], pod: Json, result: Json) -> Json:
    if not path:
        return result
    if obj["kind"] != "CronJob":
        return _with(obj, path, result)
    job = (obj.get("spec") or {}).get("jobTemplate") or {}
    obj = _with(obj, ("spec", "jobTemplate"), _with_added(job, pod, result))
    template = _with_added(_pod_template(obj), pod, result)
    return _with(obj, path, {**template, "spec": result["spec"]})


def _pod_template(obj: Json) -> Json:
    found: Json = obj["spec"]["jobTemplate"].get("spec", {}).get("template", {})
    return found


def _with_added(part: Json, pod: Json, result: Json) -> Json:
    """Return a part of a CronJob with the labels and annotations that injection added or changed."""
    metadata = dict(part.get("metadata") or {})
    for field, of in (("labels", labels_of), ("annotations", annotations_of)):
        before, after = of(pod), of(result)
        kept = {key: value for key, value in of(part).items() if key in after}
        metadata[field] = kept | {key: value for key, value in after.items() if before.get(key) != value}
    return {**part, "metadata": metadata}


def _with(obj: Json, path: tuple[str, ...], value: Json) -> Json:
    step, *rest = path
    inner = _with(obj.get(step) or {}, tuple(rest), value) if rest else value
    return {**obj, step: inner}


def _name(obj: Json) -> str:
    metadata = obj.get("metadata")
    stated: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    namespace, name = stated.get("namespace"), stated.get("name") or stated.get("generateName") or ""
    return f'{obj.get("kind")} "{f"{namespace}/" if namespace else ""}{name}"'
