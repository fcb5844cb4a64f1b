"""Reviews in a process of their own (``worker``), which is there while it is needed."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import structlog

from controlplane.webhooks.review import NotAReviewError, Request, Response
from controlplane.webhooks.worker import LENGTH, READY, refused

log = structlog.get_logger()

_IDLE_SECONDS = 60.0
_START_SECONDS = 30.0
_SLOWEST = 6.0
"""How many times its processor time a review may last, beside the start: a busy machine makes all of them wait."""


class _DiedError(Exception):
    """The process ended in the middle of a review."""


class Apart:
    """Asks one process, one after the other. ``work`` is the processor time that one object may take there."""

    def __init__(self, work: timedelta) -> None:
        self._work = work
        self._process: Process | None = None
        self._one = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def review(self, body: bytes, told: Callable[[Request, Response], None]) -> dict[str, Any]:
        """Return the review with the answer; ``told`` hears of it as far as it is counted.

        Where the process dies of a review, another one tries; where that dies too, the object is refused for it.

        Raises:
            NotAReviewError: there is nothing to answer, as the text says.
            OSError: the process cannot be started, or (``TimeoutError``) does not answer.
            RuntimeError: it made a mistake of ours, whose traceback is the text.
        """
        async with self._one:
            if self._idle is not None:
                self._idle.cancel()
            found = await self._outcome(body)
            self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._kill)
        for event in found["logged"]:
            getattr(log, event.pop("level"))(event.pop("event"), **event)
        for each in found["asked"]:
            told(_request(each), Response(failure=each["failure"]))
        if found["status"] == HTTPStatus.BAD_REQUEST:
            raise NotAReviewError(found["text"])
        if found["status"] != HTTPStatus.OK:
            raise RuntimeError(found["text"])
        review: dict[str, Any] = found["review"]
        return review

    async def stop(self) -> None:
        """End the process, and wait for that."""
        process = self._process
        self._kill()
        if process is not None:
            await process.wait()

    def _kill(self) -> None:
        """End the process; the next review starts another."""
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()

    async def _outcome(self, body: bytes) -> dict[str, Any]:
        """Return what came of a review, of the second process where the first died."""
        for _ in range(2):
            try:
                async with asyncio.timeout(_START_SECONDS + _SLOWEST * self._work.total_seconds()):
                    return await self._asked(body)
            except _DiedError:
                await self.stop()
            except BaseException:
                await self.stop()  # who reads its next answer would read this one
                raise
        log.error("webhooks.worker_died", size=len(body))
        return await asyncio.to_thread(refused, body, "the process that checks large objects died of it, twice")

    async def _asked(self, body: bytes) -> dict[str, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._started()
        requests, answers = process.stdin, process.stdout
        assert requests is not None and answers is not None  # noqa: S101, PT018 - they are pipes
        try:
            requests.write(len(body).to_bytes(LENGTH) + body)
            await requests.drain()
            size = int.from_bytes(await answers.readexactly(LENGTH))
            found: dict[str, Any] = json.loads(await answers.readexactly(size))  # noqa: TID251 - it is our own
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _DiedError from error
        return found

    async def _started(self) -> Process:
        seconds = str(self._work.total_seconds())
        command = (sys.executable, "-P", "-m", "controlplane.webhooks.worker", seconds)  # -P: not from here
        process = self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        if await process.stdout.read(len(READY)) != READY:
            raise OSError("the process that reviews large objects does not start")
        return process


def _request(asked: Mapping[str, Any]) -> Request:
    group, version, plural = asked["resource"]
    return Request("", "", "", "", "", None, resource=(group, version, plural), dry_run=asked["dry_run"])
