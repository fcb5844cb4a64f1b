"""From a pod to its JSON patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.injector.decision import Decision, decision
from controlplane.injector.difference import Operation, difference
from controlplane.injector.errors import InjectionError
from controlplane.injector.injected import injected
from controlplane.injector.settings import Settings
from controlplane.injector.shape import check_pod


def patch(pod: object, settings: Settings) -> list[Operation]:
    """Return what makes an injected pod of a pod, nothing where it is left alone.

    Raises:
        InjectionError: it is no pod, or cannot be injected; says why.
    """
    if not isinstance(pod, Mapping):
        raise InjectionError("the request has no pod")
    check_pod(pod)
    metadata: Mapping[str, Any] = pod.get("metadata") or {}
    namespace = settings.namespace or str(metadata.get("namespace") or "")
    if decision(pod, namespace, settings.config) is not Decision.INJECTED:
        return []
    return difference(dict(pod), injected(pod, settings))
