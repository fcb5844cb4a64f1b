"""Where the issuer comes from in a cluster: files, the Secret ``cacerts``, or a root made here and kept in a Secret."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog
from kubernetes.aio.client import ApiClient

from controlplane.security.ca import utc_now
from controlplane.security.cluster_secrets import Held, Secrets
from controlplane.security.issuer import GENERATED, InvalidIssuerError, Issuer
from controlplane.security.self_signed import Files, RootPolicy, new_root, renewal
from controlplane.security.sources import SourceUnavailableError, read_folder

log = structlog.get_logger(__name__)

PLUGGED_IN_SECRET = "cacerts"  # noqa: S105 - a name
SELF_SIGNED_SECRET = "istio-ca-secret"  # noqa: S105 - a name
SECRET_TYPE = "istio.io/ca-root"  # noqa: S105 - a type


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
        self._secrets = Secrets(client, namespace)
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
        cacerts = await self._secrets.get(PLUGGED_IN_SECRET)
        if cacerts is not None and GENERATED not in cacerts.files:
            return _plugged_in(cacerts.files, f"Secret {self._namespace}/{PLUGGED_IN_SECRET}")
        held = await self._secrets.get(SELF_SIGNED_SECRET) or cacerts or await self._create()
        issuer = self._self_signed(held)
        renewed = renewal(held.files, self._policy, self._clock())
        if renewed is not None:
            issuer = self._self_signed(await self._replace(held, renewed))
        return issuer

    def _self_signed(self, held: Held) -> Issuer:
        try:
            issuer = Issuer.of_self_signed(held.files)
        except InvalidIssuerError as error:
            raise InvalidIssuerError(f"Secret {self._namespace}/{held.name}: {error}") from error
        self._last = held.files
        return issuer

    async def _create(self) -> Held:
        files = self._last
        if files is None:
            files = await asyncio.to_thread(new_root, self._policy, self._clock())
        made = await self._secrets.create(SELF_SIGNED_SECRET, SECRET_TYPE, {**files, "key.pem": b""})
        if made is not None:
            log.info("security.root_created", secret=SELF_SIGNED_SECRET, namespace=self._namespace)
            return made
        first = await self._secrets.get(SELF_SIGNED_SECRET)
        if first is None:
            raise SourceUnavailableError(f"Secret {self._namespace}/{SELF_SIGNED_SECRET} was created and removed again")
        return first

    async def _replace(self, held: Held, files: Files) -> Held:
        """Write a renewed root; if somebody else has changed the Secret since, theirs stands."""
        written = await self._secrets.replace(held, files)
        if written is not None:
            log.info("security.root_renewed", secret=held.name, namespace=self._namespace)
            return written
        theirs = await self._secrets.get(held.name)
        return theirs if theirs is not None else held


def _plugged_in(files: Files, where: str) -> Issuer:
    try:
        issuer = Issuer.of_files(files)
    except InvalidIssuerError as error:
        raise InvalidIssuerError(f"{where}: {error}") from error
    if issuer is None:
        raise InvalidIssuerError(f"{where}: has none of the files of a certificate authority")
    return issuer
