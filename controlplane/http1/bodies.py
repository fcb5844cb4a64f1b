"""Bodies of requests, held within limits: each one's size and time, and the bytes of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from controlplane.limits import Limits, Reached

if TYPE_CHECKING:
    from aiohttp import web


class BodyRefusedError(Exception):
    """A body is not taken; ``status`` is the HTTP status for that, ``str()`` the sentence."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Room(NamedTuple):
    """What bodies of one ``kind`` may take: bytes of one, bytes of all together, and the time in which one has to come.

    The limits are those that are called ``max_KIND_size``, ``max_KIND_bytes`` and ``KIND_timeout``.
    """

    kind: str
    size: int
    bytes: int
    timeout: timedelta


def room_of_reviews(limits: Limits) -> Room:
    """Return what bodies of AdmissionReviews may take."""
    return Room("review", limits.max_review_size, limits.max_review_bytes, limits.review_timeout)


def room_of_questions(limits: Limits) -> Room:
    """Return what questions that are posted to the monitoring port may take."""
    return Room("question", limits.max_question_size, limits.max_question_bytes, limits.question_timeout)


class Bodies:
    """All bodies that are being read or answered. ``held`` counts their bytes as they come."""

    def __init__(self, room: Room, reached: Reached) -> None:
        self._room = room
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
            async with asyncio.timeout(self._room.timeout.total_seconds()):
                while piece := await request.content.readany():
                    pieces.append(piece)
                    size += len(piece)
                    self.held += len(piece)
                    self._check(size)
        except (ConnectionError, HttpProcessingError, RequestPayloadError) as error:
            raise BodyRefusedError(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}") from error
        except TimeoutError as error:
            self._reached(f"{self._room.kind}_timeout")
            raise BodyRefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from error

    def _check(self, size: int) -> None:
        room = self._room
        if size > room.size:
            self._reached(f"max_{room.kind}_size")
            reason = f"the body is over the limit of {room.size} bytes"
            raise BodyRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        if self.held > room.bytes:
            self._reached(f"max_{room.kind}_bytes")
            raise BodyRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many bodies come at a time; ask again")
