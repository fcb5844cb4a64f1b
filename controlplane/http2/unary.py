"""Methods that answer one request with one response."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from controlplane.http2.call import Call, CallEnded
from controlplane.http2.connection import Handler
from controlplane.http2.headers import Status

log = structlog.get_logger(__name__)

_REQUEST_SECONDS = 30  # how long a call may be open without its request

Method = Callable[[bytes, Call], Awaitable[bytes]]


class CallRefused(Exception):  # noqa: N818 - it states what happened to the call
    """A method does not do what it was asked; the peer is told ``status`` and ``str()``, a sentence."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def unary(method: Method, largest: int | None = None) -> Handler:
    """Return the handler of a method that takes a request, of ``largest`` bytes at most, and returns the response.

    Both are serialised. What it raises beside ``CallRefused`` is a bug: it is logged, and the peer is told no more.
    """
    tasks: set[asyncio.Task[None]] = set()  # the event loop itself holds tasks weakly

    def handle(call: Call) -> None:
        if largest is not None:
            call.limit(largest)
        task = asyncio.create_task(_serve(method, call))
        call.on_cut(task.cancel)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return handle


async def _serve(method: Method, call: Call) -> None:
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            request = await call.message()
        if request is None:
            call.finish(Status.INVALID_ARGUMENT, "the request is missing")
            return
        call.send(await method(request, call))
        call.finish(Status.OK)
    except TimeoutError:
        call.finish(Status.DEADLINE_EXCEEDED, f"no request came within {_REQUEST_SECONDS} seconds")
    except CallRefused as refusal:
        call.finish(refusal.status, str(refusal))
    except CallEnded as end:
        log.debug("http2.call_ended", method=call.method, peer=call.peer, reason=str(end))
        call.finish(Status.CANCELLED)
    except Exception:
        log.exception("http2.call_failed", method=call.method, peer=call.peer)
        call.finish(Status.INTERNAL, "internal error")
