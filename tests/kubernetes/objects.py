"""Writes objects to a real API server, quickly, and the definitions of Istio's kinds."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from controlplane.apis.kinds import KINDS, Kind
from tests.cluster.api_server import ADMIN_TOKEN, ApiServer

RawObject = dict[str, Any]


class Writer:
    """A client that writes; an asynchronous context manager."""

    def __init__(self, cluster: ApiServer) -> None:
        self._cluster = cluster
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cafile=str(self._cluster.authority))
        self._session = aiohttp.ClientSession(
            base_url=self._cluster.url,
            connector=aiohttp.TCPConnector(ssl=context),
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(self, method: str, path: str, body: RawObject | None = None, accepted: Sequence[int] = ()) -> Any:
        """Send a request; return what it answers. A refusal with another status than the accepted is an error."""
        assert self._session is not None
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = json.dumps(body) if body is not None else None
        async with self._session.request(method, path, data=data, headers={"Content-Type": kind}) as response:
            text = await response.text()
            answer = json.loads(text) if text.startswith("{") else {"kind": "Status", "message": text}
            if not response.ok and response.status not in accepted:
                raise RuntimeError(f"{method} {path}: {answer}")
            return answer

    async def create(self, path: str, body: RawObject) -> Any:
        """Create an object in the list at this path; one that exists is left alone."""
        return await self.request("POST", path, body, accepted=(409,))


def definition(kind: Kind, served: Iterable[str] | None = None) -> RawObject:
    """Return a CustomResourceDefinition that takes anything; ``served`` are its versions, all by default."""
    versions = kind.versions if served is None else tuple(served)
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "schema": {"openAPIV3Schema": schema},
                }
                for version in versions
            ],
        },
    }


def no_signals() -> None:
    """Put no signal handlers of a program back in place: tests have none."""


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ISTIO_KINDS = tuple(KINDS.values())


def service(name: str, port: int = 80, **labels: str) -> RawObject:
    """Return a Service without a cluster IP."""
    spec = {"clusterIP": "None", "ports": [{"name": "http", "port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels}, "spec": spec}


def virtual_service(name: str, host: str, comment: str = "") -> RawObject:
    """Return a VirtualService; the comment makes it long."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "annotations": {"comment": comment[:1000]}},
        "spec": {"hosts": [host], "http": [{"name": comment, "route": [{"destination": {"host": host}}]}]},
    }
