"""One HTTP/2 connection: bytes of a peer to its calls, frames of its calls to the peer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, cast

import structlog

from controlplane.http2 import frames, tolerance
from controlplane.http2.addresses import Address, written
from controlplane.http2.call import STREAM_WINDOW, Call
from controlplane.http2.frames import (
    END_HEADERS,
    END_STREAM,
    ConnectionFailed,
    ErrorCode,
    Kind,
    Setting,
    Splitter,
)
from controlplane.http2.headers import LARGEST_LIST, UNSUPPORTED_MEDIA_TYPE, Status
from controlplane.http2.keepalive import Keepalive
from controlplane.http2.messages import PREFIX_SIZE
from controlplane.http2.output import Output
from controlplane.http2.receiving import Receiver
from controlplane.http2.shared import Shared
from controlplane.http2.tolerance import Tolerance
from controlplane.http2.windows import Inflow, Outflow

log = structlog.get_logger(__name__)

Handler = Callable[[Call], None]

_HIGH_WATER = 256 << 10  # bytes written and not yet taken by the socket, above which nobody writes more
_LINGER_SECONDS = 1.0  # for a peer that broke the protocol to read why
_MOST_DROPPED = 1 << 20  # bytes of such a peer meanwhile
_MOST_FRAMES = 128
"""Taken of one connection before the next one has its turn."""
_MOST_BYTES = 256 << 10
"""Likewise."""
_MOST_WAITING = 16 << 10
"""Bytes that wait for a turn, beyond which no more are read."""


class Connection(asyncio.Protocol):
    """Serves the calls of one peer with the handlers of their methods."""

    def __init__(self, shared: Shared, address: Address) -> None:
        self._shared = shared
        self._options = options = shared.options
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._output: Output
        self._splitter = Splitter()
        self._receiver = Receiver(self)
        self._address = address
        self._tolerance = Tolerance(shared.addresses, address, options.keepalive_interval)
        self._pending = True
        self._announced = 0  # streams, of which the peer was told
        self._waiting = False  # for a turn
        self.inflow = Inflow()
        self.outflow = Outflow()
        self._leaving = False
        self._failed = False
        self._dropped = 0  # bytes that came after that
        self._timers: list[asyncio.TimerHandle] = []
        self._keepalive: Keepalive | None = None
        self.calls: dict[int, Call] = {}
        """Those that are open, by the id of their stream."""
        self.paused = False
        self.largest_message = options.largest_message
        self.peer = ""
        self.made = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is closed and its calls know."""

    # The event loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: tell the peer our settings."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.peer = written(self._transport.get_extra_info("peername"))
        self._shared.connections.add(self)
        self.made = True
        options = self._options
        self._announced = self._most_streams
        self._output = Output(self._transport)
        self._output.begin_with(
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: self._announced,
                    Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    Setting.MAX_HEADER_LIST_SIZE: LARGEST_LIST,
                }
            )
        )
        self._keepalive = Keepalive(self, options.keepalive_interval, options.keepalive_timeout)
        self._shared.prefaces.begin(self)
        self._shared.pending.begin(self)
        if options.max_age is not None:
            age = options.max_age.total_seconds() * random.uniform(0.9, 1.1)  # noqa: S311 - a spread, not a secret
            self._timers.append(self._loop.call_later(age, self._grow_old))

    def connection_lost(self, exc: Exception | None) -> None:
        """End every call, and let go of everything that refers to this."""
        self._shared.connections.discard(self)
        if self._keepalive is not None:
            self._keepalive.stop()
        for timer in self._timers:
            timer.cancel()
        self._shared.prefaces.met(self)
        self._shared.pending.met(self)
        self._end_calls(str(exc) if exc is not None else "the connection was closed")
        if self._pending:
            self._tolerance.ended(secure=self.secure)
        self._shared.addresses.leave(self._address, pending=self._pending)
        self._failed = True
        self._keepalive, self._timers, self._splitter = None, [], Splitter()
        del self._receiver
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        """Hear that the socket takes no more for now."""
        self.paused = True

    def resume_writing(self) -> None:
        """Hear that it does again."""
        self.paused = False
        self._tolerance.read()
        for call in tuple(self.calls.values()):
            call.resumed()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the peer, now or when it is this connection's turn."""
        if self._failed:
            self._dropped += len(data)
            if self._dropped > _MOST_DROPPED:  # it does not stop, and reads nothing
                self._transport.abort()
            return
        self._splitter.feed(data)
        if not self._waiting:
            self._waiting = True
            self._shared.turns.give(self)
        if self._splitter.size > _MOST_WAITING and self._waiting and not self._transport.is_closing():
            self._transport.pause_reading()

    def work(self, until: float) -> bool:
        """Take some of the frames that have come; see ``turns``."""
        if self._output.together(partial(self._some, until)):
            return True
        self._waiting = False
        if not self._failed and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()
        return False

    def _some(self, until: float) -> bool:
        size = 0
        try:
            for _ in range(_MOST_FRAMES):
                if self._failed or self._transport.is_closing():
                    return False
                frame = self._splitter.take()
                if frame is None:
                    return False
                self._receiver.frame(frame)
                size += len(frame[3])
                if size > _MOST_BYTES or perf_counter() > until:
                    break
        except ConnectionFailed as failure:
            self.fail(failure)
            return False
        except Exception:  # our bug: it costs this peer its connection and nobody else anything
            log.exception("http2.broken", peer=self.peer)
            self.fail(ConnectionFailed(ErrorCode.INTERNAL_ERROR, "internal error"))
            return False
        return not self._failed

    def fail(self, failure: ConnectionFailed) -> None:
        """Tell the peer what it did wrong, end its calls, and give it a moment to read that.

        What it still sends is taken and dropped: a socket that is closed with something unread is reset, and the
        peer would never know.
        """
        if self._failed:
            return
        log.info("http2.failed", peer=self.peer, code=failure.code.name, reason=str(failure))
        self.write(frames.go_away(self._receiver.last_id, failure.code, str(failure)))
        self._output.flush()
        self._failed = True
        self._end_calls(str(failure))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()
        self._timers.append(self._loop.call_later(_LINGER_SECONDS, self.cut))

    def _end_calls(self, reason: str) -> None:
        for call in tuple(self.calls.values()):
            call.cancel(reason)
        self.outflow.clear()

    def eof_received(self) -> bool:
        """Close when the peer does."""
        return False

    # What calls ask for.

    @property
    def address(self) -> str:
        """Who the peer's address belongs to; see ``addresses``."""
        return self._address.name

    @property
    def secure(self) -> bool:
        """Whether this is TLS."""
        return self._transport.get_extra_info("ssl_object") is not None

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), ``None`` without TLS or where it showed none."""
        tls: Any = self._transport.get_extra_info("ssl_object")
        return cast("bytes | None", tls.getpeercert(binary_form=True)) if tls is not None else None

    def write(self, *parts: bytes | memoryview) -> None:
        """Write frames, which may be in pieces."""
        if not self._failed:
            self._output.write(*parts)
        self._tolerance.wrote()

    def together(self, work: Callable[[], None]) -> None:
        """Do something; what it writes goes out at once."""
        self._output.together(work)

    def earn(self) -> None:
        """Note something useful that passed."""
        self._tolerance.earn()

    def waste(self, seconds: float, what: str) -> None:
        """Note something useless; see ``tolerance``. Raises ``ConnectionFailed``."""
        self._tolerance.waste(seconds, what)

    def closed(self, stream_id: int, *, said_all: bool) -> None:
        """Forget a call that has ended; ``said_all``: the peer sends nothing more on its stream."""
        call = self.calls.pop(stream_id, None)
        if call is not None:
            self.outflow.unblock(call)
            if not self._failed:
                self._receiver.ended(stream_id, said_all=said_all)
        if self._leaving and not self.calls and not self._failed:
            self._close()

    def _close(self) -> None:
        self._output.flush()
        self._transport.close()

    def received(self, size: int, held: int) -> bool:
        """Count what came and by how much more is held now; return whether the peer makes us hold too much."""
        self._shared.held += held
        back = self.inflow.take(size, held)
        if back and not self._failed:
            self.write(frames.window_update(0, back))
        if held > 0 and self.inflow.full:
            self._options.reached("max_unfinished_per_connection")
            return True
        if held > 0:
            self._shared.check()
        return False

    def accept(self) -> None:
        """Hear that a call was let in: its peer may send as much as others."""
        self.identified()
        if self._failed:
            return
        most = max(self._options.limits.max_unfinished_per_connection, self.largest_message + PREFIX_SIZE)
        if more := self.inflow.widen(most):
            self.write(frames.window_update(0, more))

    def identified(self) -> None:
        """Hear that it is known who it is, or that nobody needs to: the connection is not pending any more."""
        if not self._pending or self._failed:
            return
        self._pending = False
        self._shared.pending.met(self)
        self._shared.addresses.accept(self._address)
        self._announce()

    def _announce(self) -> None:
        """Tell a peer of more streams than it was told of, once it comes near to those: most need one."""
        if self._announced < self._most_streams and len(self.calls) >= self._announced // 2:
            self._announced = self._most_streams
            self.write(frames.settings({Setting.MAX_CONCURRENT_STREAMS: self._announced}))

    @property
    def _most_streams(self) -> int:
        most = self._options.max_streams
        return min(most, self._options.limits.max_pending_connection_streams) if self._pending else most

    def leave(self, reason: str = "") -> None:
        """Tell the peer to open new calls elsewhere; closes once the last one here has ended."""
        if self._leaving or self._failed:
            return
        self._leaving = True
        self.write(frames.go_away(self._receiver.last_id, ErrorCode.NO_ERROR, reason))
        if not self.calls:
            self._close()

    def cut(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Timers.

    def probe(self, opaque: bytes) -> None:
        """Send a ping, which is nothing that the peer could have waited for."""
        if not self._failed:
            self._output.write(frames.ping(opaque))
        self._tolerance.wrote()

    def gone(self) -> None:
        """Hear that the peer answers no ping."""
        log.info("http2.gone", peer=self.peer, reason="it answers no ping")
        self._transport.abort()

    @property
    def progress(self) -> tuple[int, int]:
        """How many bytes the peer's side has taken so far, and how many more were written."""
        waiting = self._transport.get_write_buffer_size()
        return self._output.written - waiting, waiting

    def _grow_old(self) -> None:
        self.leave(reason="max_age")
        self._timers.append(self._loop.call_later(self._options.max_age_grace.total_seconds(), self.cut))

    def without_preface(self) -> None:
        """Hear that the time for a preface is over."""
        if not (self._failed or self._splitter.has_preface):
            self._options.reached("handshake_timeout")
            self.fail(ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "no preface of HTTP/2 came in time"))

    def time_out(self) -> None:
        """Hear that the time for a first call is over."""
        if not self._failed:
            self._options.reached("pending_connection_timeout")
            self.leave(reason="no call was accepted in time")
            self._timers.append(self._loop.call_later(_LINGER_SECONDS, self.cut))

    # What frames ask for; see ``receiving``.

    def open(self, stream_id: int, headers: Mapping[str, str], *, end: bool) -> None:
        """Begin a call; ``end``: the request has no messages."""
        if self._leaving or len(self.calls) >= self._most_streams:
            self.refuse_stream(stream_id, ErrorCode.REFUSED_STREAM, "too many calls", said_all=end)
            return
        if not headers.get("content-type", "").startswith("application/grpc"):
            out = frames.head(len(UNSUPPORTED_MEDIA_TYPE), Kind.HEADERS, END_HEADERS | END_STREAM, stream_id)
            self.write(out + UNSUPPORTED_MEDIA_TYPE)
            self.refuse_stream(stream_id, ErrorCode.NO_ERROR, "", said_all=end)
            return
        call = self.calls[stream_id] = Call(self, stream_id, headers)
        self._announce()
        handler = self._shared.handlers.get(call.method)
        if handler is None:
            call.finish(Status.UNIMPLEMENTED, f"there is no method {call.method}")
            self.waste(tolerance.CALL, "calls of unknown methods")
            return
        handler(call)
        if end:
            call.data(b"", 0, end=True)

    def refuse_stream(self, stream_id: int, code: ErrorCode, reason: str, *, said_all: bool) -> None:
        """End a stream that never became a call."""
        log.debug("http2.stream_refused", peer=self.peer, code=code.name, reason=reason)
        self.write(frames.reset(stream_id, code))
        self._receiver.ended(stream_id, said_all=said_all)
        self.waste(tolerance.CALL, "calls that are refused")

    def pinged(self) -> None:
        """Hear a ping."""
        self._tolerance.pinged()

    def answered(self, opaque: bytes) -> None:
        """Hear the answer to a ping."""
        if self._keepalive is not None:
            self._keepalive.answered(opaque)

    def reply(self, frame: bytes) -> None:
        """Answer a ping or settings; unlike ``write`` that forgives no strikes."""
        if self.paused:
            self._tolerance.unread()
        if not self._failed:
            self._output.write(frame)
