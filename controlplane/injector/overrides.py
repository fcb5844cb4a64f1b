"""What a user states of our own containers: kept in an annotation, and laid over what was injected: the user wins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.injector.containers import (
    CONTAINERS,
    INIT,
    INIT_CONTAINERS,
    PROXY,
    VALIDATION,
    Container,
    annotations_of,
    containers,
    named,
    proxy_of,
)
from controlplane.injector.errors import InjectionError
from controlplane.injector.merge import merged
from controlplane.injector.shape import check_pod
from controlplane.injector.status import InjectionStatus

OVERRIDES = "proxy.istio.io/overrides"
AUTO = "auto"
"""The image that stands for the injected one."""
_FIELDS = (CONTAINERS, INIT_CONTAINERS)

Pod = dict[str, Any]


def kept_overrides(annotations: Mapping[str, str]) -> dict[str, list[Container]]:
    """Return the containers that the user stated when the pod was injected first, by field of the spec.

    Raises:
        InjectionError: the annotation cannot be read.
    """
    text = annotations.get(OVERRIDES)
    if text is None:
        return {}
    try:
        value = json_value(text)
    except UnreadableError as error:
        raise InjectionError(f"annotation {OVERRIDES}: {error}") from error
    check_pod({"spec": value}, f"annotation {OVERRIDES}")
    return {field: (value or {}).get(field) or [] for field in _FIELDS}


def with_overrides(pod: Pod, original: Pod, template: Pod, before: InjectionStatus | None) -> Pod:
    """Return the pod with what the user stated of the template's containers laid over them.

    ``original`` is the pod as it came, ``before`` what an earlier injection added: what is listed there is ours, and
    what the user stated of it stands in the annotation.

    Raises:
        InjectionError: what the user stated does not fit onto the container.
    """
    kept = kept_overrides(annotations_of(original))
    found: dict[str, list[Container]] = {}
    for field in _FIELDS:
        for each in containers(template, field):
            name = str(each.get("name", ""))
            ours = before is not None and name in before.of(field)
            stated = named(kept.get(field, ()), name) or (None if ours else _stated(original, field, name))
            if stated is None:
                continue
            overlay = _overlay(stated)
            if field == CONTAINERS:
                overlay.pop("restartPolicy", None)  # it was one of an init container
            found.setdefault(field, []).append(overlay)
            pod = _applied(pod, field, overlay)
    if before is None and found:
        text = json.dumps({field: found[field] for field in _FIELDS if field in found}, separators=(",", ":"))
        pod = merged(pod, {"metadata": {"annotations": {OVERRIDES: text}}})
    return pod


def _stated(original: Pod, field: str, name: str) -> Container | None:
    other = CONTAINERS if field == INIT_CONTAINERS else INIT_CONTAINERS
    return named([*containers(original, field), *containers(original, other)], name)


def _overlay(stated: Container) -> Container:
    overlay = {key: value for key, value in stated.items() if value is not None}
    if overlay.get("image") in (AUTO, ""):
        del overlay["image"]
    return {**overlay, "resources": overlay.get("resources") or {}}


def _applied(pod: Pod, field: str, overlay: Container) -> Pod:
    try:
        return merged(pod, {"spec": {field: [overlay]}})
    except InjectionError as error:
        raise InjectionError(f"failed to re apply container: {error}") from error


def with_users(pod: Pod, original: Pod, *, tproxy: bool) -> Pod:
    """Return the pod with its redirection for the user that the user's own proxy container states.

    A check of the redirection runs as that user and group. With TPROXY the proxy itself must be root.
    """
    stated = (proxy_of(original) or {}).get("securityContext") or {}
    user, group = stated.get("runAsUser"), stated.get("runAsGroup")
    init = named(containers(pod, INIT_CONTAINERS), INIT) or named(containers(pod, INIT_CONTAINERS), VALIDATION)
    if init is None or (user is None and group is None):
        return pod
    changes: Container = {}
    if init.get("name") == VALIDATION and not tproxy:
        ids = {"runAsUser": user, "runAsGroup": group}
        changes["securityContext"] = {name: value for name, value in ids.items() if value is not None}
    arguments = init.get("args") or []
    if user and "-u" in arguments[:-1]:
        at = arguments.index("-u") + 1
        changes["args"] = [*arguments[:at], str(user), *arguments[at + 1 :]]
    pod = _applied(pod, INIT_CONTAINERS, {"name": init["name"], **changes})
    if tproxy:
        field = CONTAINERS if named(containers(pod), PROXY) else INIT_CONTAINERS
        pod = _applied(pod, field, {"name": PROXY, "securityContext": {"runAsUser": 0}})
    return pod


def without_assigned_user(pod: Pod) -> Pod:
    """Return the pod whose proxy container, if it has one, has no user that OpenShift assigned.

    OpenShift gives every container of a pod the same one, before it is injected; a proxy has another than the
    application, whose traffic would not be led through it else.
    """
    proxy = proxy_of(pod)
    stated = ((proxy or {}).get("securityContext") or {}).get("runAsUser")
    users = {
        (each.get("securityContext") or {}).get("runAsUser") for each in containers(pod) if each.get("name") != PROXY
    }
    if proxy is None or stated is None or stated not in users:
        return pod
    kept = {key: value for key, value in proxy["securityContext"].items() if key not in ("runAsUser", "runAsGroup")}
    spec = dict(pod["spec"])
    for field in _FIELDS:
        if spec.get(field):
            spec[field] = [{**each, "securityContext": kept} if each is proxy else each for each in spec[field]]
    return {**pod, "spec": spec}


def moved(pod: Pod, template: Pod) -> Pod:
    """Return the pod with its containers in the list where the template has one of the same name.

    A proxy that the user stated beside the application becomes an init container where a native sidecar is injected,
    and the other way round: no two containers of a pod may have one name.
    """
    spec = dict(pod.get("spec") or {})
    for field, other in ((CONTAINERS, INIT_CONTAINERS), (INIT_CONTAINERS, CONTAINERS)):
        names = {each.get("name") for each in containers(template, field)}
        moving = [each for each in spec.get(other) or () if each.get("name") in names]
        if not moving:
            continue
        present = {each.get("name") for each in spec.get(field) or ()}
        spec[other] = [each for each in spec[other] if each.get("name") not in names]
        added = [each for each in moving if each.get("name") not in present]
        if field == CONTAINERS:
            added = [{key: value for key, value in each.items() if key != "restartPolicy"} for each in added]
        spec[field] = [*(spec.get(field) or ()), *added]
    return {**pod, "spec": spec}
