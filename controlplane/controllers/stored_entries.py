"""WorkloadEntries as the API server has them: read, created, changed and removed, unless somebody else was faster."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CustomObjectsApi, V1DeleteOptions, V1Preconditions

from controlplane.apis.kinds import KINDS
from controlplane.controllers.workload_entries import KIND, Json
from controlplane.model.objects import ObjectKey

FAILURES = (ApiException, ClientError, OSError, TimeoutError)
"""What each method may raise: the API server refuses, or cannot be reached."""

_GROUP_KIND = KINDS["WorkloadGroup"]
_MERGE = "application/merge-patch+json"


class StoredEntries:
    """The entries of a cluster. Each method raises one of ``FAILURES`` where it says nothing else."""

    def __init__(self, client: ApiClient) -> None:
        self._api = CustomObjectsApi(client)

    async def uid_of_group(self, key: ObjectKey) -> str:
        """Return the UID of a WorkloadGroup."""
        found = await self._api.get_namespaced_custom_object(
            _GROUP_KIND.group, _GROUP_KIND.versions[0], key.namespace, _GROUP_KIND.plural, key.name
        )
        uid: str = found["metadata"]["uid"]
        return uid

    async def read(self, key: ObjectKey) -> Json | None:
        """Return an entry, ``None`` where there is none."""
        try:
            found: Json = await self._api.get_namespaced_custom_object(
                KIND.group, KIND.versions[0], key.namespace, KIND.plural, key.name
            )
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None
        return found

    async def create(self, key: ObjectKey, entry: Json) -> bool:
        """Create an entry; return whether there was none."""
        try:
            await self._api.create_namespaced_custom_object(
                KIND.group, KIND.versions[0], key.namespace, KIND.plural, entry
            )
        except ApiException as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return False
        return True

    async def patch(self, held: Json, change: Json, *, status: bool = False) -> None:
        """Change an entry that is still as it was read (409 otherwise)."""
        metadata = held["metadata"]
        version = {"resourceVersion": metadata["resourceVersion"]}
        body = {**change, "metadata": {**change.get("metadata", {}), **version}}
        patch = self._api.patch_namespaced_custom_object_status if status else self._api.patch_namespaced_custom_object
        await patch(
            KIND.group,
            KIND.versions[0],
            metadata["namespace"],
            KIND.plural,
            metadata["name"],
            body,
            _content_type=_MERGE,
        )

    async def patch_unless_changed(self, held: Json, annotations: Mapping[str, str | None]) -> bool:
        """Change annotations of an entry; return false where it has gone, or is no longer as it was read."""
        try:
            await self.patch(held, {"metadata": {"annotations": annotations}})
        except ApiException as error:
            if error.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise
            return False
        return True

    async def remove(self, held: Json) -> bool:
        """Remove an entry; return false where it has gone, or is no longer as it was read."""
        metadata = held["metadata"]
        try:
            await self._api.delete_namespaced_custom_object(
                KIND.group,
                KIND.versions[0],
                metadata["namespace"],
                KIND.plural,
                metadata["name"],
                body=V1DeleteOptions(preconditions=V1Preconditions(resource_version=metadata["resourceVersion"])),
            )
        except ApiException as error:
            if error.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise
            return False
        return True


def annotations_of(obj: Json) -> Mapping[str, str]:
    """Return the annotations of an object."""
    return obj["metadata"].get("annotations") or {}


def reason_of(error: BaseException) -> str:
    """Return why a method failed, for people."""
    if isinstance(error, ApiException):
        return f"{error.status} {error.reason}"
    return str(error) or type(error).__name__
