"""Where the issuer comes from in a cluster: files, the Secret ``cacerts``, or a root made here and kept in a Secret."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api, V1ObjectMeta, V1Secret

from controlplane.security.ca import utc_now
from controlplane.security.issuer import GENERATED, InvalidIssuerError, Issuer
from controlplane.security.self_signed import Files, RootPolicy, new_root, renewal
from controlplane.security.sources import SourceUnavailableError, read_folder

log = structlog.get_logger(__name__)

PLUGGED_IN_SECRET = "cacerts"  # noqa: S105 - a name
SELF_SIGNED_SECRET = "istio-ca-secret"  # noqa: S105 - a name
SECRET_TYPE = "istio.io/ca-root"  # noqa: S105 - a type
_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class _Held:
    """A Secret as it was read."""

    name: str
    files: Files
    resource_version: str


class ClusterSource:
    """The issuer of a control plane in a cluster: the first of these that there is, asked anew with each ``read``.

    1. the files of ``folder`` (``/etc/cacerts``), complete in one layout and not marked as generated;
    2. the Secret ``cacerts``, likewise;
    3. a self-signed root in the Secret ``istio-ca-secret``, or in ``cacerts`` marked as generated;
    4. a new self-signed root, which is written to ``istio-ca-secret``.

    Replicas that start at once agree: who comes second to create reads what the first one has written, and who is
    second to renew finds that the Secret has changed. A self-signed root whose Secret is removed is written again.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        folder: Path,
        policy: RootPolicy,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._api = CoreV1Api(client)
        self._namespace = namespace
        self._folder = folder
        self._policy = policy
        self._clock = clock
        self._last: Files | None = None  # of the self-signed root

    async def read(self) -> Issuer:
        """Return the issuer of the first source that there is."""
        files = read_folder(self._folder)
        if files and GENERATED not in files:
            return _plugged_in(files, str(self._folder))
        cacerts = await self._get(PLUGGED_IN_SECRET)
        if cacerts is not None and GENERATED not in cacerts.files:
            return _plugged_in(cacerts.files, f"Secret {self._namespace}/{PLUGGED_IN_SECRET}")
        held = await self._get(SELF_SIGNED_SECRET) or cacerts or await self._create()
        issuer = self._self_signed(held)
        renewed = renewal(held.files, self._policy, self._clock())
        if renewed is not None:
            issuer = self._self_signed(await self._replace(held, renewed))
        return issuer

    def _self_signed(self, held: _Held) -> Issuer:
        try:
            issuer = Issuer.of_self_signed(held.files)
        except InvalidIssuerError as error:
            raise InvalidIssuerError(f"Secret {self._namespace}/{held.name}: {error}") from error
        self._last = held.files
        return issuer

    async def _create(self) -> _Held:
        files = self._last
        if files is None:
            files = await asyncio.to_thread(new_root, self._policy, self._clock())
        data = {**files, "key.pem": b""}
        body = V1Secret(metadata=V1ObjectMeta(name=SELF_SIGNED_SECRET), type=SECRET_TYPE, data=_encoded(data))
        create = self._api.create_namespaced_secret(self._namespace, body, _request_timeout=_TIMEOUT_SECONDS)
        made = await self._call(create, f"create Secret {SELF_SIGNED_SECRET}", HTTPStatus.CONFLICT)
        if made is not None:
            log.info("security.root_created", secret=SELF_SIGNED_SECRET, namespace=self._namespace)
            return _held(made)
        first = await self._get(SELF_SIGNED_SECRET)
        if first is None:
            raise SourceUnavailableError(f"Secret {self._namespace}/{SELF_SIGNED_SECRET} was created and removed again")
        return first

    async def _replace(self, held: _Held, files: Files) -> _Held:
        """Write a renewed root; if somebody else has changed the Secret since, theirs stands."""
        patch = {"metadata": {"resourceVersion": held.resource_version}, "data": _encoded(files)}
        write = self._api.patch_namespaced_secret(
            held.name,
            self._namespace,
            patch,
            _content_type="application/merge-patch+json",
            _request_timeout=_TIMEOUT_SECONDS,
        )
        written = await self._call(write, f"patch Secret {held.name}", HTTPStatus.CONFLICT)
        if written is not None:
            log.info("security.root_renewed", secret=held.name, namespace=self._namespace)
            return _held(written)
        theirs = await self._get(held.name)
        return theirs if theirs is not None else held

    async def _get(self, name: str) -> _Held | None:
        request = self._api.read_namespaced_secret(name, self._namespace, _request_timeout=_TIMEOUT_SECONDS)
        secret = await self._call(request, f"get Secret {name}", HTTPStatus.NOT_FOUND)
        return _held(secret) if secret is not None else None

    async def _call(self, request: Awaitable[Any], what: str, expected: HTTPStatus) -> Any | None:  # noqa: ANN401
        """Return the answer, or ``None`` for the expected refusal."""
        try:
            return await request
        except ApiException as error:
            if error.status == expected:
                return None
            raise SourceUnavailableError(
                f"cannot {what} in namespace {self._namespace}: {error.status} {error.reason}"
            ) from error
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise SourceUnavailableError(f"cannot {what} in namespace {self._namespace}: {reason}") from error


def _plugged_in(files: Files, where: str) -> Issuer:
    try:
        issuer = Issuer.of_files(files)
    except InvalidIssuerError as error:
        raise InvalidIssuerError(f"{where}: {error}") from error
    if issuer is None:
        raise InvalidIssuerError(f"{where}: has none of the files of a certificate authority")
    return issuer


def _held(secret: Any) -> _Held:  # noqa: ANN401 - the client's model
    files = {name: base64.b64decode(value) for name, value in (secret.data or {}).items()}
    return _Held(secret.metadata.name, files, secret.metadata.resource_version)


def _encoded(files: Files) -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in files.items()}
