"""What ``components.*.k8s`` of an IstioOperator changes of a component's objects, after they are rendered.

Reference: KubernetesResourcesSpec of Istio's operator. Maps are laid over those that are there; lists whose elements
have names - containers' ``env``, ``volumes``, ``volumeMounts`` - by these, other lists replace what is there.
``overlays`` come last and may change anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from controlplane.install.chart import laid_over
from controlplane.install.errors import RefusedInputError
from controlplane.install.paths import set_at
from controlplane.install.readiness import WORKLOADS

Json = dict[str, Any]

_OF_POD = ("affinity", "nodeSelector", "priorityClassName", "securityContext", "tolerations")
_OF_CONTAINER = ("imagePullPolicy", "readinessProbe", "resources")
_NAMED = {"env": "name", "volumes": "name", "volumeMounts": "mountPath"}
_SCALER, _BUDGET = "HorizontalPodAutoscaler", "PodDisruptionBudget"


def adjusted(objects: Sequence[Json], settings: Mapping[str, Any], path: str) -> list[Json]:
    """Return the objects of a component with its settings in them; ``path`` is where these stand, for messages.

    Raises:
        RefusedInputError: an overlay cannot be applied.
    """
    found = [_adjusted(deepcopy(each), settings) for each in objects]
    if "replicaCount" in settings:  # a count that somebody states is not the autoscaler's to change
        found = [each for each in found if each["kind"] != _SCALER or "hpaSpec" in settings]
    found += _budget(found, settings)
    for at, overlay in enumerate(settings.get("overlays") or ()):
        _overlay(found, overlay, f"{path}.overlays[{at}]")
    return found


def _adjusted(obj: Json, settings: Mapping[str, Any]) -> Json:
    if obj["kind"] in WORKLOADS:
        return _workload(obj, settings)
    for kind, key in (("Service", "service"), (_SCALER, "hpaSpec"), (_BUDGET, "podDisruptionBudget")):
        if obj["kind"] == kind and settings.get(key):
            obj["spec"] = laid_over(obj["spec"], settings[key])
    if obj["kind"] == "Service" and settings.get("serviceAnnotations"):
        obj["metadata"] = laid_over(obj["metadata"], {"annotations": settings["serviceAnnotations"]})
    return obj


def _workload(obj: Json, settings: Mapping[str, Any]) -> Json:
    spec = obj["spec"]
    if "replicaCount" in settings and "hpaSpec" not in settings:
        spec["replicas"] = settings["replicaCount"]
    if settings.get("strategy"):
        spec["strategy"] = settings["strategy"]
    template = spec["template"]
    if settings.get("podAnnotations"):
        template["metadata"] = laid_over(template["metadata"], {"annotations": settings["podAnnotations"]})
    pod, container = template["spec"], template["spec"]["containers"][0]
    _lay(pod, settings, _OF_POD)
    _lay(container, settings, _OF_CONTAINER)
    for owner, key in ((container, "env"), (pod, "volumes"), (container, "volumeMounts")):
        if settings.get(key):
            owner[key] = _by_name(owner.get(key) or [], settings[key], _NAMED[key])
    return obj


def _lay(owner: Json, settings: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        value = settings.get(key)
        if value is not None:
            owner[key] = laid_over(owner.get(key) or {}, value) if isinstance(value, dict) else value


def _by_name(old: Sequence[Json], new: Sequence[Json], name: str) -> list[Json]:
    """Return a list in which elements of the same name are those of ``new``."""
    stated = {each.get(name): each for each in new}
    known = {each.get(name) for each in old}
    return [stated.get(each.get(name), each) for each in old] + [each for each in new if each.get(name) not in known]


def _budget(objects: Sequence[Json], settings: Mapping[str, Any]) -> list[Json]:
    """Return a disruption budget where one is stated and the chart made none."""
    stated = settings.get("podDisruptionBudget")
    workload = next((each for each in objects if each["kind"] in WORKLOADS), None)
    if not stated or workload is None or any(each["kind"] == _BUDGET for each in objects):
        return []
    spec = {"selector": workload["spec"]["selector"], **stated}
    metadata = {key: workload["metadata"][key] for key in ("name", "namespace", "labels")}
    return [{"apiVersion": "policy/v1", "kind": _BUDGET, "metadata": metadata, "spec": spec}]


def _overlay(objects: list[Json], overlay: Any, path: str) -> None:  # noqa: ANN401 - as somebody wrote it
    if not isinstance(overlay, dict) or not overlay.get("kind"):
        raise RefusedInputError(f"{path}.kind: is required")
    kind, name = overlay["kind"], overlay.get("name")
    chosen = [each for each in objects if each["kind"] == kind and name in (None, "", each["metadata"]["name"])]
    if not chosen:
        made = ", ".join(sorted(each["metadata"]["name"] for each in objects if each["kind"] == kind)) or "none"
        raise RefusedInputError(f"{path}: the component has no {kind} {name or ''}; of this kind it has {made}")
    for at, patch in enumerate(overlay.get("patches") or ()):
        where = f"{path}.patches[{at}]"
        if not isinstance(patch, dict) or not isinstance(patch.get("path"), str):
            raise RefusedInputError(f"{where}.path: is required")
        for obj in chosen:
            _patch(where, obj, patch)


def _patch(where: str, obj: Json, patch: Json) -> None:
    try:
        set_at(obj, patch["path"], deepcopy(patch.get("value")))
    except RefusedInputError as error:
        raise RefusedInputError(*(f"{where}: {each}" for each in error.problems)) from error
