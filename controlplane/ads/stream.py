"""Drives one proxy: bytes of requests in, bytes of responses out, over any transport.

A stream is a state and two occasions to move on: a request came, or there may be something to send. Nothing queues up:
while the transport takes no more, requests still count and snapshots replace each other; what goes out next is
decided only when there is room for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from controlplane.ads.contents import NO_NAMES, Edition, Library
from controlplane.ads.credential import Credential
from controlplane.ads.lockstep import Lockstep
from controlplane.ads.node import proxy_of
from controlplane.ads.observer import Observer
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.source import Session, SnapshotSource
from controlplane.ads.sync_status import ProxyStatus, Rejection, Sync, TypeStatus
from controlplane.ads.watch import TYPES, Kind, Request, StreamState, Variant, Watch
from controlplane.model.proxy import Proxy
from controlplane.snapshots import Snapshot

log = structlog.get_logger()

HEALTH_TYPE_URL = "type.googleapis.com/istio.v1.HealthInformation"
_HEALTH_TYPE_URLS = frozenset({HEALTH_TYPE_URL, "istio.v1.HealthInformation"})
_MOST_TYPES = 64
_MOST_UNKNOWN_LOGGED = 100


class Transport(Protocol):
    """One proxy's connection, as a stream needs it."""

    @property
    def peer(self) -> str:
        """Where the proxy connects from, for people to read."""
        ...

    @property
    def writable(self) -> bool:
        """Whether a response can be sent now."""
        ...

    def send(self, message: bytes) -> None:
        """Write one response; only when ``writable``."""
        ...


class Turns:
    """Lets the streams that have something to send do so in turn, and the event loop breathe in between."""

    SLICE = 0.02  # seconds; between two slices answers are read, and the streams whose turn is last wait for that

    def __init__(self) -> None:
        self._due: deque[Stream] = deque()

    def add(self, stream: Stream) -> None:
        """Give a stream its turn, soon."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._run)
        self._due.append(stream)

    def _run(self) -> None:
        end = time.perf_counter() + self.SLICE
        while self._due:
            self._due[0].turn()
            self._due.popleft()
            if self._due and time.perf_counter() > end:
                asyncio.get_running_loop().call_soon(self._run)
                return


@dataclass(frozen=True)
class Serving:
    """What all streams of a server share. ``patience`` is how many seconds an unanswered response holds others up."""

    source: SnapshotSource
    patience: float
    observer: Observer
    library: Library = field(default_factory=Library)
    turns: Turns = field(default_factory=Turns)
    unknown_types: set[str] = field(default_factory=set)
    lockstep: Lockstep = field(default_factory=Lockstep)


class Stream:
    """One proxy's stream, from its first request to its end."""

    def __init__(
        self, variant: Variant, transport: Transport, serving: Serving, credential: Credential | None = None
    ) -> None:
        """Make a stream; ``credential`` is what the caller has proved of itself, if anything."""
        self._variant = variant
        self._credential = credential or Credential()
        self._transport = transport
        self._serving = serving
        self._lockstep = serving.lockstep
        self._sent_at: dict[str, float] = {}  # of the last response of each type, by the event loop's clock
        self._sent_revisions: dict[str, int] = {}  # likewise; not in the state, which streams of any age share
        self._acked_revisions: dict[str, int] = {}  # of the last response of each type that was acknowledged
        self._overdue = NO_NAMES  # types whose answers are not waited for any longer
        self._timer: asyncio.TimerHandle | None = None
        self._due_turn = False
        self._changed_at: float | None = None  # of the oldest change that this proxy was not sent
        self._sent = False  # anything since then
        self._ending = False
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._session: Session
        self._snapshot: Snapshot
        self._edition: Edition
        self._state: StreamState
        self.proxy: Proxy
        self.connected_at = datetime.now(UTC)
        self._clock_began = self.connected_at - timedelta(seconds=self._loop.time())

    async def open(self, first: bytes, read: Callable[[], Awaitable[bytes | None]]) -> None:
        """Learn from the first request who this is, and take it up. ``close`` it afterwards.

        What comes before it of a machine's health is passed over; ``read`` gives what follows.

        Raises:
            StreamRefused: the request is malformed, or its node is not one we serve.
            EOFError: the proxy went before it said anything.
        """
        body: bytes | None = first
        decoder = self._lockstep.decoder(self._variant)
        while body is not None:
            node, type_url = decoder.introduction(body)
            if type_url in _HEALTH_TYPE_URLS:
                log.warning("ads.health_before_first_request", peer=self._transport.peer)
                body = await read()
                continue
            self.proxy = proxy_of(node)
            self._credential.check(self.proxy)
            self._session = await self._serving.source.open(self.proxy, self._changed)
            self._snapshot = self._session.snapshot
            self._edition = self._serving.library.edition(self._snapshot)
            self._state = self._lockstep.begin(self._variant, self._edition, self._session.missing)
            try:
                self._receive(body)
            except BaseException:
                self._session.close()
                raise
            self.wake()
            return
        raise EOFError("the stream ended before its first request")

    async def ended(self) -> None:
        """Return when the stream has ended.

        Raises:
            StreamRefused: a request was malformed.
            Exception: what ``fail`` was told, or an error of our own.
        """
        await self._end

    def close(self) -> None:
        """Give back what an opened stream holds."""
        if not self._end.done():
            self._end.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._session.close()

    def end(self) -> None:
        """End the stream once what is due has been written.

        Not earlier: a proxy that is left between a cluster and its load assignment would keep that cluster warming.
        """
        self._ending = True
        self.wake()

    def fail(self, error: Exception) -> None:
        """End the stream at once."""
        if not self._end.done():
            self._end.set_exception(error)

    def _changed(self) -> None:
        if self._changed_at is None:
            self._changed_at = self._serving.observer.changed_at
            self._sent = False
        self.wake()

    def wake(self) -> None:
        """Look for something to send, soon; costs next to nothing."""
        if not self._due_turn and not self._end.done():
            self._due_turn = True
            self._serving.turns.add(self)

    def turn(self) -> None:
        """Send what is due, if there is room."""
        self._due_turn = False
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - it is raised from ``ended``
            self.fail(error)

    def receive(self, body: bytes) -> None:
        """Take a request, and send what it makes due. What is wrong with it ends the stream."""
        if self._end.done():
            return
        try:
            self._receive(body)
            if not self._due_turn:
                self._send()
        except Exception as error:  # noqa: BLE001 - it is raised from ``ended``
            self.fail(error)

    def _send(self) -> None:
        while not self._end.done() and self._transport.writable:
            snapshot = self._session.snapshot
            if snapshot is not self._snapshot:
                self._snapshot = snapshot
                self._edition = self._serving.library.edition(snapshot)
            move = self._lockstep.move(self._state, self._edition, self._overdue)
            if move.state is not None:
                self._state = move.state
            response = move.response
            if response is not None:
                self._sent_at[response.type_url] = self._loop.time()
                self._sent_revisions[response.type_url] = self._edition.revision
                if self._overdue:
                    self._overdue -= {response.type_url}
                self._transport.send(response.body)
                self._serving.observer.sent(response.type_url, len(response.body))
                self._sent = True
                continue
            self._wait(move.waits_for)
            if self._changed_at is not None and not move.waits_for:
                if self._sent:
                    self._serving.observer.converged(time.perf_counter() - self._changed_at)
                self._changed_at = None
            if self._ending:
                self._end.set_result(None)
            return

    def _wait(self, types: Iterable[str]) -> None:
        """Come back when patience with one of these types' responses ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = [self._sent_at[type_url] for type_url in types if type_url not in self._overdue]
        if ends:
            at = min(ends) + self._serving.patience
            self._timer = self._loop.call_at(at, self._lose_patience)

    def _lose_patience(self) -> None:
        since = self._loop.time() - self._serving.patience
        self._overdue = frozenset(type_url for type_url, at in self._sent_at.items() if at <= since)
        self.wake()

    def _receive(self, body: bytes) -> None:
        received = self._lockstep.receive(self._state, body)
        request, kind = received.request, received.kind
        if request.type_url not in TYPES:
            if request.type_url in _HEALTH_TYPE_URLS:
                return  # a virtual machine's own health; nothing here depends on it yet
            self._note_unknown(request.type_url)
        if received.state is not None:
            self._state = received.state
        if kind is Kind.ACK:
            self._acked_revisions[request.type_url] = self._sent_revisions[request.type_url]
        elif kind is Kind.NACK:
            self._log_nack(self._state.watches[request.type_url], request)
        elif kind is Kind.STALE:
            self._serving.observer.expired(request.type_url)

    def _note_unknown(self, type_url: str) -> None:
        # These include istio.io/debug..., which are answered by the monitoring port and not over ADS.
        if type_url not in self._state.watches and len(self._state.watches) >= _MOST_TYPES:
            raise StreamRefused(Refusal.INVALID, f"more than {_MOST_TYPES} resource types on one stream")
        unknown = self._serving.unknown_types
        if type_url not in unknown and len(unknown) < _MOST_UNKNOWN_LOGGED:
            unknown.add(type_url)
            log.warning("ads.unknown_type", type_url=type_url, proxy=self.proxy.id)

    def _log_nack(self, watch: Watch, request: Request) -> None:
        self._serving.observer.refused(watch.type_url)
        log.warning(
            "ads.nack",
            proxy=self.proxy.id,
            type_url=watch.type_url,
            rejected=watch.version if request.nonce == watch.nonce else None,
            serving=watch.acked_version or None,
            reason=request.error,
        )

    def status(self, connection_id: str) -> ProxyStatus:
        """Return what this proxy was sent and has answered."""
        types = {watch.type: self._type_status(watch) for watch in self._state.watches.values() if watch.type}
        return ProxyStatus(connection_id, self.proxy, self._transport.peer, self.connected_at, types)

    def _type_status(self, watch: Watch) -> TypeStatus:
        edition, type_url = self._state.edition, watch.type_url
        current = watch.sent is edition.of(watch.type) and not watch.due and not watch.owed
        acked = current and watch.flight is None and watch.refused is None
        sent_at = self._sent_at.get(type_url)
        return TypeStatus(
            sync=_sync(watch, current=current),
            sent_version=watch.version,
            acked_version=watch.acked_version,
            sent_nonce=watch.nonce,
            acked_nonce=watch.acked_nonce,
            # A snapshot in which nothing of this type changed for this proxy needs no response to be in force.
            sent_revision=edition.revision if current else self._sent_revisions.get(type_url, 0),
            acked_revision=edition.revision if acked else self._acked_revisions.get(type_url, 0),
            sent_at=self._clock_began + timedelta(seconds=sent_at) if sent_at is not None else None,
            names=None if watch.wildcard else watch.names,
            rejection=_rejection(watch),
        )

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot of the proxy's class, sent or not."""
        return self._session.snapshot


def _sync(watch: Watch, *, current: bool) -> Sync:
    if watch.refused is not None:
        return Sync.ERROR
    if not watch.nonce:
        return Sync.NOT_SENT
    return Sync.SYNCED if current and watch.flight is None else Sync.STALE


def _rejection(watch: Watch) -> Rejection | None:
    if watch.refused is None:
        return None
    at = datetime.fromtimestamp(watch.refused.at, UTC)
    return Rejection(watch.refused.version, watch.refused.message, at, watch.refused.nonce)
