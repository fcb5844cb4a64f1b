"""Long questions answered by a copy of this process, which costs it a moment and disturbs nobody.

``fork`` copies memory only where it is written to, so the copy has all that was built, at once and nearly for free. It
keeps one thread, closes everything but the connection for its answer, makes way for others, is the first to be ended
where memory is short, and ends itself where it takes too much of it or of time.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import threading
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog
from structlog.typing import EventDict

log = structlog.get_logger(__name__)


class CopyFailedError(Exception):
    """The copy gave no answer; ``str()`` goes on from what it was to give: "took longer than 60 s"."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one copy may take: seconds, and bytes that it adds to what it was copied with."""

    seconds: float = 60.0
    added_bytes: int = 512 * 1024 * 1024


Take = Callable[[bytes], Awaitable[None]]
"""Takes a piece of an answer, and returns when there is room for the next."""

_OUT_OF_MEMORY = 71
_GOOD, _FAILED = b"+", b"!"
_LOOK_SECONDS = 0.05
_PIECE_BYTES = 1 << 16
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Copy:
    """A process that was forked off, and the connection that it answers through.

    No pipe: asyncio's loops take a pipe's descriptor for theirs and close its number a second time, a turn later.
    """

    pid: int
    connection: socket.socket


def fork(work: Callable[[], bytes], limits: Limits) -> Copy:
    """Have a copy of this process do some work, and return at once.

    Raises:
        OSError: there can be no further process.
    """
    read, write = socket.socketpair()
    read.setblocking(False)
    try:
        with warnings.catch_warnings():  # newer Pythons warn of threads: none of theirs is needed in the copy
            warnings.simplefilter("ignore", DeprecationWarning)
            parent = os.getpid()
            pid = os.fork()
    except OSError:
        read.close()
        write.close()
        raise
    if pid == 0:
        _do(work, write.fileno(), limits, parent)
    write.close()
    return Copy(pid, read)


async def answer(copy: Copy, limits: Limits, take: Take) -> None:
    """Give ``take`` what a copy answers, no faster than it is taken, and see to the end of the copy in any case.

    The answer stays in the copy until it is taken, and the time for that counts too.

    Raises:
        CopyFailedError: it took too long or too much, or failed; what was given until then is no whole answer.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            told, failure = await _read(copy.connection, take)
    except TimeoutError as error:
        raise CopyFailedError(f"took longer than {limits.seconds:g} s, and was given up") from error
    finally:
        os.kill(copy.pid, signal.SIGKILL)  # it is not waited for yet, so its number is nobody else's
        copy.connection.close()
        _, status = await asyncio.shield(asyncio.to_thread(os.waitpid, copy.pid, 0))
    code = os.waitstatus_to_exitcode(status)
    if code == _OUT_OF_MEMORY:
        raise CopyFailedError(f"took more than {limits.added_bytes // 1024**2} MB of memory, and was given up")
    if told == _FAILED:
        log.error("questions.copy_failed", reason=failure)
        raise CopyFailedError(f"failed, which is a bug: {(failure.splitlines() or [''])[-1]}")
    if code or told != _GOOD:
        raise CopyFailedError(f"ended without an answer ({code})")


async def _read(connection: socket.socket, take: Take) -> tuple[bytes, str]:
    """Return what comes first, good or failed, and in the latter case why."""
    loop = asyncio.get_running_loop()
    told, failure = await loop.sock_recv(connection, 1), bytearray()
    while piece := await loop.sock_recv(connection, _PIECE_BYTES):
        if told == _GOOD:
            await take(piece)
        else:
            failure += piece
        await asyncio.sleep(0)  # what is there already is read and taken without waiting
    return told, failure.decode(errors="replace")


def _do(work: Callable[[], bytes], connection: int, limits: Limits, parent: int) -> NoReturn:
    """Work in the copy, and end it whatever happens."""
    try:
        _alone(connection, limits, parent)
        _tell(connection, _GOOD + work())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing may go on as if this were the process that it was copied from
        _tell(connection, _FAILED + traceback.format_exc().encode())
    finally:
        os._exit(1)


def _tell(connection: int, text: bytes) -> None:
    with os.fdopen(connection, "wb", closefd=False) as file:
        file.write(text)


def _alone(connection: int, limits: Limits, parent: int) -> None:
    """Give up all that the copy shares with others, and have it end where it takes too much or nobody waits for it."""
    structlog.get_config()["processors"][:] = [_dropped]  # in place, as loggers have it
    logging.disable()  # of a trial nothing is logged, and a lock of logging may be held by a thread that is no more
    gc.freeze()  # or a collection would write to, and so copy, all there is
    signal.set_wakeup_fd(-1)
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    kept = sorted({0, 1, 2, connection})
    for low, high in zip(kept, [*kept[1:], resource.getrlimit(resource.RLIMIT_NOFILE)[0]], strict=True):
        os.closerange(low + 1, high)
    os.nice(10)
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    seconds = int(limits.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    threading.Thread(
        target=_watch, args=(_data_bytes() + limits.added_bytes, parent, limits.seconds + 1), daemon=True
    ).start()


def _dropped(_logger: object, _method: str, _event: EventDict) -> EventDict:
    raise structlog.DropEvent


def _watch(most_bytes: int, parent: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while _data_bytes() < most_bytes:
        if os.getppid() != parent or time.monotonic() > end:
            os._exit(1)  # the process that asked was killed, or has forgotten this one
        time.sleep(_LOOK_SECONDS)
    os._exit(_OUT_OF_MEMORY)


def _data_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * _PAGE_BYTES
