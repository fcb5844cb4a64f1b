"""Injection: namespaces and pods without a proxy, with several ways to one, or with an old one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import codes, raw
from controlplane.analysis.analyzers.webhooks import selects
from controlplane.analysis.mesh_members import (
    DATAPLANE_MODE,
    IGNORED_NAMESPACES,
    INJECT,
    INJECTION,
    PROXY,
    REVISION,
    is_ambient_pod,
    proxy_image,
)
from controlplane.analysis.resources import Message, Resource, Resources, has_labels, message
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.model import kinds

_INJECTOR = "istio-sidecar-injector"
_SYSTEM = "istio-system"
_AUTO = "auto"
_LABELS = (INJECTION, REVISION, DATAPLANE_MODE)


def namespaces_and_pods(resources: Resources) -> Iterator[Message]:
    """Find namespaces that do not say whether they are in the mesh or say it twice, and pods without a proxy."""
    injected: set[str] = set()
    for namespace in resources.of(kinds.NAMESPACE):
        if namespace.name == _SYSTEM or namespace.name in IGNORED_NAMESPACES:
            continue
        stated = [f"{label}={namespace.labels[label]}" for label in _LABELS if namespace.labels.get(label)]
        if not stated:
            if _by_default(resources, namespace.labels.get(REVISION, "")):
                yield message(codes.INJECTED_BY_DEFAULT, namespace)
            else:
                yield message(codes.NAMESPACE_NOT_INJECTED, namespace, "metadata.name", namespace=namespace.name)
        elif namespace.labels.get(INJECTION) == "disabled":
            continue
        elif len(stated) > 1:
            yield message(codes.SEVERAL_INJECTION_LABELS, namespace, "metadata.labels", labels=stated)
        elif namespace.labels.get(INJECTION) == "enabled" or namespace.labels.get(REVISION):
            injected.add(namespace.name)
    for pod in resources.of(kinds.POD):
        if pod.namespace in injected and not proxy_image(pod.spec) and _wants_proxy(pod):
            yield message(codes.POD_MISSING_PROXY, pod, pod=pod.full_name)


def _wants_proxy(pod: Resource) -> bool:
    asked = pod.labels.get(INJECT, pod.annotations.get(INJECT, ""))
    on_host = raw.at(pod.spec, "hostNetwork") is True
    return asked.lower() != "false" and not on_host and not is_ambient_pod(pod)


def _values(resources: Resources) -> dict[str, Mapping[str, Any]]:
    """Return the values of each ConfigMap of an injector, by its name."""
    found = {}
    for each in resources.of(kinds.CONFIG_MAP):
        if each.name.startswith(_INJECTOR):
            try:
                found[each.name] = raw.mapping(json_value(raw.text(each.written, "data", "values") or "{}"))
            except UnreadableError:
                found[each.name] = {}
    return found


def _by_default(resources: Resources, revision: str) -> bool:
    values = _values(resources).get(_config_map(revision), {})
    return raw.at(values, "sidecarInjectorWebhook", "enableNamespacesByDefault") is True


def _config_map(revision: str) -> str:
    return f"{_INJECTOR}-{revision}" if revision not in {"", "default"} else _INJECTOR


def images(resources: Resources) -> Iterator[Message]:
    """Find pods whose proxy is of another image than injection would give them now."""
    expected = {name: _image(values) for name, values in _values(resources).items()}
    old: defaultdict[str, list[str]] = defaultdict(list)
    for pod in resources.of(kinds.POD) if expected else ():
        namespace = resources.find(kinds.NAMESPACE, "", pod.namespace)
        if namespace is None or "sidecar.istio.io/proxyImage" in pod.annotations:
            continue
        revision = namespace.labels.get(REVISION)
        if revision is None and namespace.labels.get(INJECTION) != "enabled":
            continue
        wanted, running = expected.get(_config_map(revision or ""), ""), proxy_image(pod.spec)
        if wanted and running and running not in {wanted, f"{wanted}-{_image_type(resources, pod)}"}:
            old[pod.namespace].append(pod.name)
    for name, pods in sorted(old.items()):
        if (namespace := resources.find(kinds.NAMESPACE, "", name)) is not None:
            yield message(codes.PROXY_IMAGE_MISMATCH, namespace, pods=sorted(pods))


def _image(values: Mapping[str, Any]) -> str:
    settings = raw.mapping(values, "global")
    image = raw.text(settings, "proxy", "image")
    if "/" in image or not image:
        return image
    return f"{raw.text(settings, 'hub')}/{image}:{raw.at(settings, 'tag') or ''}"


def _image_type(resources: Resources, pod: Resource) -> str:
    """Return the type of image for a pod: by ProxyConfigs and its annotation, else that of the mesh."""
    config = resources.mesh.config.default_config
    stated = config.image.image_type if config.image is not None else ""
    root, workload = resources.mesh.config.root_namespace, ""
    for namespace in (root, pod.namespace):
        for each in resources.of(kinds.PROXY_CONFIG):
            image_type = raw.text(each.spec, "image", "imageType")
            selector = raw.string_map(each.spec, "selector", "matchLabels")
            if each.namespace != namespace or not image_type:
                continue
            if not selector:
                stated = image_type
            elif each.namespace == pod.namespace and has_labels(pod.labels, selector):
                workload = image_type
    try:
        annotated = raw.text(yaml_value(pod.annotations.get("proxy.istio.io/config", "")), "image", "imageType")
    except UnreadableError:
        annotated = ""
    by_annotation = pod.annotations.get("sidecar.istio.io/proxyImageType", "")
    return by_annotation or workload or annotated or stated


def auto_images(resources: Resources) -> Iterator[Message]:
    """Find proxies whose image is left to injection, and that are not injected."""
    hooks = [
        hook
        for config in resources.of(kinds.MUTATING_WEBHOOKS)
        for _, hook in raw.mappings(config.written, "webhooks")
        if raw.text(hook, "name").endswith("istio.io")
    ]
    for pod in resources.of(kinds.POD):
        if _has_auto_image(pod.spec):
            yield message(codes.AUTO_IMAGE_ERROR, pod, "spec.containers", kind="Pod", name=pod.name)
    for deployment in resources.of(kinds.DEPLOYMENT):
        template = raw.mapping(deployment.spec, "template")
        if not _has_auto_image(raw.mapping(template, "spec")):
            continue
        namespace = resources.find(kinds.NAMESPACE, "", deployment.namespace)
        around = namespace.labels if namespace is not None else {}
        labels = raw.string_map(template, "metadata", "labels")
        if not any(selects(hook, around, labels) for hook in hooks):
            path = "spec.template.spec.containers"
            yield message(codes.AUTO_IMAGE_WARNING, deployment, path, kind="Deployment", name=deployment.name)


def _has_auto_image(spec: Mapping[str, Any]) -> bool:
    return any(
        raw.text(container, "name") == PROXY and raw.text(container, "image") == _AUTO
        for _, container in raw.mappings(spec, "containers")
    )
