"""A cluster as an installation writes to it: objects applied, read, listed and deleted, by their kinds.

Objects are written by server-side apply, by a field manager of our own: what others state of them stays theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from controlplane.documents.json_reader import json_value
from controlplane.watchers.kubernetes.api import Api, connect
from controlplane.watchers.kubernetes.errors import NonsenseError, RefusedError
from controlplane.watchers.kubernetes.timing import Timing

Json = dict[str, Any]

MANAGER = "controlplane-install"
NOT_FOUND = 404
_TOO_MANY_REQUESTS = 429
_TRIES = 20
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_APPLY = "application/apply-patch+yaml"
_ALL_ABILITIES = frozenset({"list", "delete"})


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource that the cluster serves; ``group_version`` as objects state it (``apps/v1``)."""

    group_version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def group(self) -> str:
        """The group; empty for the core."""
        return self.group_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "") -> str:
        """Return where its objects are, or one of them."""
        parts = ["apis" if self.group else "api", self.group_version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace)]
        return "/" + "/".join([*parts, self.plural, *([quote(name)] if name else [])])


@dataclass(frozen=True, slots=True)
class Ref:
    """The name of one object in a cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Ref:
        """Return the name of an object."""
        metadata = obj["metadata"]
        return cls(obj["apiVersion"], obj["kind"], metadata.get("namespace") or "", metadata["name"])

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Cluster:
    """One cluster. Every method raises ``RefusedError`` where it says no, and ``UnreachableError`` where it is away."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resources: dict[tuple[str, str], Resource] = {}

    async def resources(self, *, anew: bool = False) -> list[Resource]:
        """Return what the cluster serves, each in one version."""
        await self._discover(anew=anew)
        return list(self._resources.values())

    async def apply(self, obj: Json, *, dry_run: bool = False, manager: str = MANAGER, force: bool = True) -> Json:
        """Make an object what is stated, and return it as it is then; whatever others state too, this wins."""
        resource = await self._resource(obj["apiVersion"], obj["kind"])
        ref = Ref.of(obj)
        parameters = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            parameters["dryRun"] = "All"
        return await self._send("PATCH", resource.path(ref.namespace, ref.name), parameters, obj, (_JSON, _APPLY))

    async def patch(self, ref: Ref, operations: list[Json]) -> None:
        """Change an object by a JSON patch (RFC 6902)."""
        resource = await self._resource(ref.api_version, ref.kind)
        path = resource.path(ref.namespace, ref.name)
        await self._send("PATCH", path, {"fieldManager": MANAGER}, operations, (_JSON, _JSON_PATCH))

    async def read(self, ref: Ref) -> Json | None:
        """Return an object, ``None`` where there is none, nor its kind."""
        try:
            resource = await self._resource(ref.api_version, ref.kind)
            return await self._send("GET", resource.path(ref.namespace, ref.name))
        except RefusedError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    async def listed(self, resource: Resource, selector: str = "", namespace: str = "") -> list[Json]:
        """Return the objects of a resource with these labels, each with its kind."""
        found: list[Json] = []
        parameters = {"limit": "500"} | ({"labelSelector": selector} if selector else {})
        while True:
            try:
                page = await self._send("GET", resource.path(namespace), parameters)
            except RefusedError as error:
                if error.code == NOT_FOUND:  # its definition has just gone
                    return found
                raise
            given = {"apiVersion": resource.group_version, "kind": resource.kind}
            found += [{**each, **given} for each in page.get("items") or ()]
            if not (more := (page.get("metadata") or {}).get("continue")):
                return found
            parameters = {**parameters, "continue": more}

    async def create(self, obj: Json) -> Json:
        """Create an object, or ask a question that is written as one."""
        resource = await self._resource(obj["apiVersion"], obj["kind"])
        return await self._send("POST", resource.path(obj["metadata"].get("namespace") or ""), {}, obj)

    async def token(self, namespace: str, service_account: str, audience: str, seconds: int) -> str:
        """Return a token of a service account, for an audience."""
        path = f"/api/v1/namespaces/{quote(namespace)}/serviceaccounts/{quote(service_account)}/token"
        spec = {"audiences": [audience], "expirationSeconds": seconds}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
        answer = await self._send("POST", path, {}, body)
        try:
            return str(answer["status"]["token"])
        except (KeyError, TypeError):
            raise NonsenseError("a token that is none") from None

    async def delete(self, ref: Ref) -> bool:
        """Delete an object; it is gone when all that it owns is. Return whether there was one."""
        resource = await self._resource(ref.api_version, ref.kind)
        try:
            body = {"propagationPolicy": "Foreground"}
            await self._send("DELETE", resource.path(ref.namespace, ref.name), {}, body)
        except RefusedError as error:
            if error.code == NOT_FOUND:
                return False
            raise
        return True

    async def version(self) -> Json:
        """Return what the API server says of its version."""
        return await self._send("GET", "/version")

    async def _resource(self, api_version: str, kind: str) -> Resource:
        await self._discover()
        group = api_version.rpartition("/")[0]
        if (group, kind) not in self._resources:
            await self._discover(anew=True)
        try:
            return self._resources[group, kind]
        except KeyError:
            raise RefusedError(NOT_FOUND, f"the cluster has no kind {kind} of {group or 'its core'}") from None

    async def _discover(self, *, anew: bool = False) -> None:
        if self._resources and not anew:
            return
        found: dict[tuple[str, str], Resource] = {}
        for path in ("/api", "/apis"):
            groups = await self._send("GET", path, forms=(_DISCOVERY, _JSON))
            try:
                for group in groups["items"]:
                    for each in _served(group):
                        found.setdefault((each.group, each.kind), each)
            except (KeyError, TypeError):
                raise NonsenseError("a list of API groups that is none") from None
        self._resources = found

    async def _send(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Json | list[Json] | None = None,
        forms: tuple[str, str] = (_JSON, _JSON),
    ) -> Json:
        """Ask; ``forms`` are what is accepted and what is sent."""
        for _ in range(_TRIES):
            try:
                answer: Json = json_value(await self._api.send(method, path, parameters or {}, forms, body))
                return answer
            except RefusedError as error:  # it makes room, or begins to serve a definition
                if error.code != _TOO_MANY_REQUESTS:
                    raise
                last = error
                await asyncio.sleep(last.retry_after_seconds or 1)
        raise last


def _served(group: Json) -> list[Resource]:
    """Return the resources of a group, those of the preferred version first."""
    found = []
    for version in group.get("versions") or ():
        name = (group.get("metadata") or {}).get("name")
        group_version = f"{name}/{version['version']}" if name else version["version"]
        for each in version.get("resources") or ():
            kind = (each.get("responseKind") or {}).get("kind", "")
            namespaced = each.get("scope") == "Namespaced"
            verbs = frozenset(each.get("verbs") or ())
            found.append(Resource(group_version, each["resource"], kind, namespaced, verbs))
    return found


def deletable(resources: list[Resource]) -> list[Resource]:
    """Return those whose objects can be found and deleted."""
    return [each for each in resources if each.verbs >= _ALL_ABILITIES]


@asynccontextmanager
async def cluster(kubeconfig: str, context: str) -> AsyncIterator[Cluster]:
    """Give the cluster that a kubeconfig names, or that kubectl would take.

    Raises:
        ConfigurationError: there is no usable way to it.
    """
    api = await connect(kubeconfig, context, Timing())
    try:
        yield Cluster(api)
    finally:
        await api.close()
        await asyncio.sleep(0)  # connections end in the next step of the loop
