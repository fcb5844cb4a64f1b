"""The reviewer of pods that are made: their sidecars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from controlplane.injector.decision import Decision, decision, doubts
from controlplane.injector.difference import difference
from controlplane.injector.errors import InjectionError
from controlplane.injector.injected import injected
from controlplane.injector.settings import Settings
from controlplane.injector.shape import check_pod
from controlplane.webhooks.review import Request, Response

log = structlog.get_logger()

SettingsOf = Callable[[str], Settings]
"""Returns the settings for a pod in a namespace. It is called in any thread."""

FAILED, SKIPPED = "failed", "skipped"
"""Words for counting; a pod that was injected has none."""
_VARIABLES = {"cluster": "ISTIO_META_CLUSTER_ID", "net": "ISTIO_META_NETWORK"}
_OLD_MARK = ":ENV:"
_SLASH = "--slash--"


def injection(settings_of: SettingsOf) -> Callable[[Request], Response]:
    """Return the reviewer that injects pods with the settings of their namespaces."""

    def review(request: Request) -> Response:
        if request.object is None:
            return Response(refusal="the request has no Pod", failure=FAILED)
        pod = dict(request.object)
        try:
            return _reviewed(pod, request, settings_of)
        except InjectionError as error:
            log.info("webhooks.not_injected", pod=_name(pod, request), reason=str(error)[:1000])
            return Response(refusal=str(error), failure=FAILED)

    return review


def _reviewed(pod: dict[str, Any], request: Request, settings_of: SettingsOf) -> Response:
    check_pod(pod)
    metadata: Mapping[str, Any] = pod.get("metadata") or {}
    namespace = request.namespace or str(metadata.get("namespace") or "")
    settings = settings_of(namespace)
    warnings = doubts(pod, settings.config)
    if decision(pod, namespace, settings.config) is not Decision.INJECTED:
        return Response(warnings=warnings, failure=SKIPPED)
    settings = replace(settings, environment=variables(request.path))
    return Response(warnings=warnings, patch=tuple(difference(pod, injected(pod, settings))))


def variables(path: str) -> dict[str, str]:
    """Return the variables that a path below ``/inject`` sets: ``cluster/west/net/n1``, or ``:ENV:cluster=west``.

    ``--slash--`` stands for a slash in a value. A name without a value sets nothing.
    """
    if path.startswith(_OLD_MARK):
        stated = [each.partition("=") for each in path.strip("/").split(_OLD_MARK)[1:]]
        pairs = [(name, value) for name, found, value in stated if found]
    else:
        parts = path.strip("/").split("/")
        pairs = [(name, value.replace(_SLASH, "/")) for name, value in zip(parts[::2], parts[1::2], strict=False)]
    return {_VARIABLES.get(name, name.upper()): value for name, value in pairs if name}


def _name(pod: Mapping[str, Any], request: Request) -> str:
    metadata = pod.get("metadata")
    stated: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    return f"{request.namespace}/{stated.get('name') or stated.get('generateName') or ''}"[:500]
