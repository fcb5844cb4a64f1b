"""Which pods have a proxy: those with its container, and those that get one when they start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controlplane.analysis import raw
from controlplane.analysis.resources import Resource, Resources
from controlplane.model import kinds

PROXY = "istio-proxy"
INJECTION = "istio-injection"
INJECT = "sidecar.istio.io/inject"
REVISION = "istio.io/rev"
DATAPLANE_MODE = "istio.io/dataplane-mode"
AMBIENT = "ambient"
IGNORED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})
"""Namespaces of Kubernetes itself, which are no matter of the mesh."""
_REDIRECTION = "ambient.istio.io/redirection"


def is_control_plane(resource: Resource) -> bool:
    """Whether an object is part of the control plane, by its labels."""
    return "istio" in resource.labels or resource.labels.get("release") == "istio"


def is_ambient_pod(pod: Resource) -> bool:
    """Whether a pod is in the mesh without a proxy of its own."""
    return pod.annotations.get(_REDIRECTION) == "enabled"


def is_ambient_namespace(namespace: Resource | None) -> bool:
    """Whether the pods of a namespace are to be in the mesh without proxies."""
    if namespace is None or namespace.labels.get(INJECTION) == "enabled" or namespace.labels.get(REVISION):
        return False
    return namespace.labels.get(DATAPLANE_MODE) == AMBIENT


def proxy_image(spec: Mapping[str, object], *fields: str) -> str:
    """Return the image of the proxy among the containers of a pod, empty where there is none."""
    for each in fields or ("containers", "initContainers"):
        for _, container in raw.mappings(spec, each):
            if raw.text(container, "name") == PROXY and (image := raw.text(container, "image")):
                return image
    return ""


def pod_in_mesh(resources: Resources, pod: Resource) -> bool:
    """Whether a pod has a proxy, or is to get one."""
    return bool(proxy_image(pod.spec)) or _asks(resources, pod.namespace, (pod.labels, pod.annotations))


def deployment_in_mesh(resources: Resources, deployment: Resource) -> bool:
    """Whether the pods of a deployment have a proxy, or are to get one."""
    template = raw.mapping(deployment.spec, "template")
    stated = (raw.string_map(template, "metadata", field) for field in ("labels", "annotations"))
    in_template = proxy_image(raw.mapping(template, "spec"))
    return bool(in_template) or _asks(resources, deployment.namespace, stated)


def _asks(resources: Resources, namespace: str, stated: Iterable[Mapping[str, str]]) -> bool:
    """Whether labels or annotations ask for a proxy, or where they say nothing, the namespace."""
    for each in stated:
        if INJECT in each:
            return each[INJECT] == "true"
    found = resources.find(kinds.NAMESPACE, "", namespace)
    return found is not None and found.labels.get(INJECTION) == "enabled"
