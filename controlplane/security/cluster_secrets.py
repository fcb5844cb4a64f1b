"""Secrets of one namespace as files by name, and how a cluster's refusals are told."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api, V1ObjectMeta, V1Secret

from controlplane.security.self_signed import Files
from controlplane.security.sources import SourceUnavailableError

_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Held:
    """A Secret as it was read."""

    name: str
    files: Files
    resource_version: str


class Secrets:
    """The Secrets of ``namespace``. Every method raises ``SourceUnavailableError`` where the cluster does not do it."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._api = CoreV1Api(client)
        self.namespace = namespace

    async def get(self, name: str) -> Held | None:
        """Return a Secret, or ``None`` if there is none of this name."""
        request = self._api.read_namespaced_secret(name, self.namespace, _request_timeout=_TIMEOUT_SECONDS)
        return await self._call(request, f"get Secret {name}", HTTPStatus.NOT_FOUND)

    async def create(self, name: str, kind: str, files: Files) -> Held | None:
        """Return the Secret that was made, or ``None`` if there is one already; ``kind`` is its type."""
        body = V1Secret(metadata=V1ObjectMeta(name=name), type=kind, data=_encoded(files))
        request = self._api.create_namespaced_secret(self.namespace, body, _request_timeout=_TIMEOUT_SECONDS)
        return await self._call(request, f"create Secret {name}", HTTPStatus.CONFLICT)

    async def replace(self, held: Held, files: Files) -> Held | None:
        """Write files into a Secret and return it; ``None`` if somebody else has changed it since it was read."""
        patch = {"metadata": {"resourceVersion": held.resource_version}, "data": _encoded(files)}
        request = self._api.patch_namespaced_secret(
            held.name,
            self.namespace,
            patch,
            _content_type="application/merge-patch+json",
            _request_timeout=_TIMEOUT_SECONDS,
        )
        return await self._call(request, f"patch Secret {held.name}", HTTPStatus.CONFLICT)

    async def _call(self, request: Awaitable[Any], what: str, expected: HTTPStatus) -> Held | None:
        """Return the answer, or ``None`` for the expected refusal."""
        try:
            return _held(await request)
        except ApiException as error:
            if error.status == expected:
                return None
            raise SourceUnavailableError(
                f"cannot {what} in namespace {self.namespace}: {error.status} {error.reason}"
            ) from error
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise SourceUnavailableError(f"cannot {what} in namespace {self.namespace}: {reason}") from error


def _held(secret: Any) -> Held:  # noqa: ANN401 - the client's model
    files = {name: base64.b64decode(value) for name, value in (secret.data or {}).items()}
    return Held(secret.metadata.name, files, secret.metadata.resource_version)


def _encoded(files: Files) -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in files.items()}
