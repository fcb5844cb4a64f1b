"""Bodies of requests, held within limits: each one's size and time, and the bytes of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from controlplane.limits import Limits, Reached

if TYPE_CHECKING:
    from aiohttp import web


class BodyRefusedError(Exception):
    """A body is not taken; ``status`` is the HTTP status for that, ``str()`` the sentence."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Bodies:
    """All bodies that are being read or answered. ``held`` counts their bytes as they come."""

    def __init__(self, limits: Limits, reached: Reached) -> None:
        self._limits = limits
        self._reached = reached
        self.held = 0

    @asynccontextmanager
    async def of(self, request: web.Request) -> AsyncIterator[bytes]:
        """Read a request's body, and give back its room at the end.

        Raises:
            BodyRefusedError: it is too large, too slow, or there is no room.
        """
        pieces: list[bytes] = []
        try:
            await self._read(request, pieces)
            yield b"".join(pieces)
        finally:
            self.held -= sum(map(len, pieces))

    async def _read(self, request: web.Request, pieces: list[bytes]) -> None:
        from aiohttp.http_exceptions import HttpProcessingError  # noqa: PLC0415 - it is loaded by the server
        from aiohttp.web import RequestPayloadError  # noqa: PLC0415

        size = 0
        try:
            async with asyncio.timeout(self._limits.review_timeout.total_seconds()):
                while piece := await request.content.readany():
                    pieces.append(piece)
                    size += len(piece)
                    self.held += len(piece)
                    self._check(size)
        except (ConnectionError, HttpProcessingError, RequestPayloadError) as error:
            raise BodyRefusedError(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}") from error
        except TimeoutError as error:
            self._reached("review_timeout")
            raise BodyRefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from error

    def _check(self, size: int) -> None:
        limits = self._limits
        if size > limits.max_review_size:
            self._reached("max_review_size")
            reason = f"the body is over the limit of {limits.max_review_size} bytes"
            raise BodyRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        if self.held > limits.max_review_bytes:
            self._reached("max_review_bytes")
            raise BodyRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many bodies come at a time; ask again")
