"""The keys with which a cluster signs ServiceAccount tokens, as it publishes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, OpenidApi, WellKnownApi

from controlplane.security.jwt import IssuerJwks

log = structlog.get_logger(__name__)

_TIMEOUT = 5  # seconds
_EVERY = timedelta(minutes=10)
_RETRY = timedelta(seconds=15)


class ClusterJwks:
    """Keeps the keys at hand while ``run`` runs; ``keys`` is ``None`` until they were had once."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._wanted = asyncio.Event()
        self.keys: IssuerJwks | None = None

    def look_soon(self) -> None:
        """Hear of a token that names a key which is not known: there may be new ones."""
        self._wanted.set()

    async def run(self) -> None:
        """Fetch them now and then until cancelled, after ``look_soon`` sooner, and never more often than is fair."""
        while True:
            known = await self.fetch()
            self._wanted.clear()
            await asyncio.sleep(_RETRY.total_seconds())
            if known:
                with suppress(TimeoutError):
                    async with asyncio.timeout((_EVERY - _RETRY).total_seconds()):
                        await self._wanted.wait()

    async def fetch(self) -> bool:
        """Fetch them; return whether they were had. Those of before stay if not."""
        try:
            configuration = await _body(
                WellKnownApi(self._client).get_service_account_issuer_open_id_configuration_without_preload_content(
                    _request_timeout=_TIMEOUT
                )
            )
            jwks = await _body(
                OpenidApi(self._client).get_service_account_issuer_open_id_keyset_without_preload_content(
                    _request_timeout=_TIMEOUT
                )
            )
            keys = IssuerJwks.parse(configuration, jwks)
        except ApiException as error:
            log.warning("security.keys_unavailable", reason=f"{error.status} {error.reason}")
            return False
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            log.warning("security.keys_unavailable", reason=str(error) or type(error).__name__)
            return False
        self.keys = keys
        return True


async def _body(request: Awaitable[Any]) -> bytes:
    """Return what an unread answer holds.

    Raises:
        ApiException: it is a refusal.
    """
    response = await request
    body = bytes(await response.read())
    if response.status != HTTPStatus.OK:
        raise ApiException(status=response.status, reason=response.reason)
    return body
