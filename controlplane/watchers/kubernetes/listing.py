"""All objects of some resources as they are now, once: for commands that look at a cluster and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from controlplane.documents.json_reader import json_value
from controlplane.watchers.kubernetes.api import JSON, Api, connect
from controlplane.watchers.kubernetes.discovery import ACCEPT, preferred, served
from controlplane.watchers.kubernetes.errors import NonsenseError, RefusedError
from controlplane.watchers.kubernetes.resources import Resource
from controlplane.watchers.kubernetes.timing import Timing

_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_FORBIDDEN = 403
_CORE = "v1"


class Wanted(NamedTuple):
    """Resources to list, and which of their objects: a field selector, empty for all."""

    resource: Resource
    fields: str = ""


class Listed(NamedTuple):
    """What was read: the objects as the API server has them, and why resources could not be read."""

    objects: list[dict[str, Any]]
    refused: dict[Resource, str]


async def listed(kubeconfig: str, context: str, wanted: Sequence[Wanted]) -> Listed:
    """List resources; one that the server does not have has no objects, one that it has otherwise is refused.

    Raises:
        ConfigurationError: there is no usable way to the cluster.
        UnreachableError: it does not answer.
        RefusedError: it says no to something else than the right to list a resource.
    """
    timing = Timing()
    api = await connect(kubeconfig, context, timing)
    try:
        body, _ = await api.probe("/apis", ACCEPT, "")
        now = served(body)
        found = Listed([], {})
        for each in wanted:
            version = preferred(each.resource, now) if each.resource.group else _CORE
            if version is None:
                if others := now.get((each.resource.group, each.resource.plural)):
                    found.refused[each.resource] = f"the server has {', '.join(others)}, of which none is read"
                continue
            try:
                found.objects.extend(await _objects(api, each, version))
            except RefusedError as error:
                if error.code != _FORBIDDEN:
                    raise
                found.refused[each.resource] = error.message
        return found
    finally:
        await api.close()


async def _objects(api: Api, wanted: Wanted, version: str) -> list[dict[str, Any]]:
    """Return the objects of one resource, page by page."""
    resource = wanted.resource
    parameters = {"limit": str(resource.page)} | ({"fieldSelector": wanted.fields} if wanted.fields else {})
    found: list[dict[str, Any]] = []
    while True:
        page = _page(await api.get(resource.path(version), parameters, _METADATA if resource.metadata_only else JSON))
        found.extend(_complete(item, resource, version) for item in page["items"] or ())
        if not (more := page["metadata"].get("continue")):
            return found
        parameters = {**parameters, "continue": more}


def _page(body: bytes) -> Mapping[str, Any]:
    """Read a page of a list.

    Raises:
        NonsenseError: it is none.
    """
    try:
        page: Mapping[str, Any] = json_value(body)
        if isinstance(page["items"], list | None) and isinstance(page["metadata"], dict):  # Go writes no items as null
            return page
    except (ValueError, KeyError, TypeError):
        pass
    raise NonsenseError("a list that is none")


def _complete(item: dict[str, Any], resource: Resource, version: str) -> dict[str, Any]:
    """Return an item of a list with its kind and API version, which items of lists lack."""
    return {**item, "kind": resource.kind, "apiVersion": resource.api_version(version)}
