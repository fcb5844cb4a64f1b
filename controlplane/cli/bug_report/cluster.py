"""What only the API server knows of a control plane: its pods and their logs, its Deployments, webhooks and Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from controlplane.cli.kubeconfig import usual_kubeconfig
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.watchers.kubernetes.api import JSON, Api, connect
from controlplane.watchers.kubernetes.errors import ConfigurationError, RefusedError, UnreachableError
from controlplane.watchers.kubernetes.timing import Timing

LABEL = "app=istiod"
LINES = "20000"
"""The last lines of each log."""
_FAILED = (ConfigurationError, UnreachableError, RefusedError)
_TEXT = "*/*"

Part = tuple[str, bytes | None, str]
"""The name of a file, its content (``None``: it could not be had), and why not."""


def parts_of_cluster(kubeconfig: str, context: str, namespace: str) -> list[Part]:
    """Return what the API server says; what it refuses is among it, with the reason."""
    return asyncio.run(_parts(kubeconfig or usual_kubeconfig(context), context, namespace))


async def _parts(kubeconfig: str, context: str, namespace: str) -> list[Part]:
    try:
        api = await connect(kubeconfig, context, Timing())
    except _FAILED as error:
        return [("cluster", None, str(error))]
    try:
        return [each async for each in _asked(api, namespace)]
    finally:
        await api.close()


async def _asked(api: Api, namespace: str) -> AsyncIterator[Part]:
    within, webhooks = f"/api/v1/namespaces/{namespace}", "/apis/admissionregistration.k8s.io/v1"
    pods = await _got(api, "cluster/pods.json", f"{within}/pods", labelSelector=LABEL)
    yield pods
    yield await _got(api, "cluster/version.json", "/version")
    yield await _got(api, "cluster/events.json", f"{within}/events")
    yield await _got(
        api, "cluster/deployments.json", f"/apis/apps/v1/namespaces/{namespace}/deployments", labelSelector=LABEL
    )
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
        yield await _got(api, f"cluster/{kind}.json", f"{webhooks}/{kind}")
    for pod in _items(pods[1]):
        name = str(pod["metadata"]["name"])
        for container in pod["spec"]["containers"]:
            path, held = f"{within}/pods/{name}/log", f"cluster/logs/{name}.{container['name']}"
            yield await _got(api, f"{held}.log", path, _TEXT, container=container["name"], tailLines=LINES)
            former = await _got(
                api, f"{held}.previous.log", path, _TEXT, container=container["name"], tailLines=LINES, previous="true"
            )
            if former[1] is not None:  # most have no former container
                yield former


async def _got(api: Api, name: str, path: str, accept: str = JSON, **parameters: str) -> Part:
    try:
        return name, await api.get(path, parameters, accept), ""
    except _FAILED as error:
        return name, None, str(error)


def _items(listed: bytes | None) -> list[Any]:
    if listed is not None:
        with suppress(UnreadableError, ValueError, AttributeError):  # it is in the archive as it is
            return list(json_value(listed).get("items") or ())
    return []
