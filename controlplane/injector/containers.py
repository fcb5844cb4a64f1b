"""The containers of a pod, by name; pods are shaped as ``shape`` has checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

PROXY = "istio-proxy"
INIT = "istio-init"
VALIDATION = "istio-validation"
CORE_DUMP = "enable-core-dump"
CONTAINERS, INIT_CONTAINERS = "containers", "initContainers"

Container = dict[str, Any]


def containers(pod: Mapping[str, Any], field: str = CONTAINERS) -> list[Container]:
    """Return the containers of a pod, or its init containers."""
    return (pod.get("spec") or {}).get(field) or []


def every_container(pod: Mapping[str, Any]) -> Iterator[Container]:
    """Yield all containers, init containers last."""
    yield from containers(pod)
    yield from containers(pod, INIT_CONTAINERS)


def named(found: Iterable[Container], name: str) -> Container | None:
    """Return the container of this name."""
    return next((each for each in found if each.get("name") == name), None)


def proxy_of(pod: Mapping[str, Any]) -> Container | None:
    """Return the proxy of a pod, wherever it stands."""
    return named(every_container(pod), PROXY)


def annotations_of(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotations of a pod; an annotation that is ``null`` is empty."""
    return {key: value or "" for key, value in ((pod.get("metadata") or {}).get("annotations") or {}).items()}


def labels_of(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of a pod; a label that is ``null`` is empty."""
    return {key: value or "" for key, value in ((pod.get("metadata") or {}).get("labels") or {}).items()}
