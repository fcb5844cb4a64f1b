"""Drives one proxy: bytes of requests in, bytes of responses out, over any transport.

A stream is a state and two occasions to move on: a request came, or there may be something to send. Nothing queues up:
while the transport takes no more, requests still count and snapshots replace each other; what goes out next is
decided only when there is room for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from datetime import UTC, datetime, timedelta

import structlog

from controlplane.ads.contents import NO_NAMES, ServedSnapshot
from controlplane.ads.credential import Credential, SecretAccess
from controlplane.ads.node import proxy_of
from controlplane.ads.observer import Pushed
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.serving import Serving, Transport
from controlplane.ads.source import Session
from controlplane.ads.sync_status import ProxyStatus, Rejection, Sync, TypeStatus
from controlplane.ads.virtual_hosts import takes_virtual_hosts
from controlplane.ads.watch import SDS, TYPES, Kind, Request, StreamState, Variant, Watch
from controlplane.model.proxy import Proxy
from controlplane.snapshots import WHOLE, ResourceType, Snapshot

log = structlog.get_logger()

HEALTH_TYPE_URL = "type.googleapis.com/istio.v1.HealthInformation"
_HEALTH_TYPE_URLS = frozenset({HEALTH_TYPE_URL, "istio.v1.HealthInformation"})
_MOST_TYPES = 64
_MOST_UNKNOWN_LOGGED = 100


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
        self._pushed: dict[str, Pushed] = {}  # responses with changes that have no answer yet
        self._overdue = NO_NAMES  # types whose answers are not waited for any longer
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._due_turn = False
        self._changed_at: float | None = None  # of the oldest change that this proxy was not sent
        self._sent = False  # anything since then
        self._ending = False
        self._access = SecretAccess.NOBODY if self._credential.namespace is None else SecretAccess.UNKNOWN
        self._following: asyncio.Task[None] | None = None  # of the access, once secrets are asked for
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] | None = self._loop.create_future()  # nothing once it is closed
        self._over = False
        self._split = False  # whether virtual hosts go one by one
        self.elsewhere = False
        """Whether the proxy's next stream is to be on another connection."""
        self._session: Session
        self._snapshot: Snapshot
        self._served: ServedSnapshot
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
            if type_url not in _HEALTH_TYPE_URLS:
                await self._admit(proxy_of(node))
                self._begin(body)
                return
            log.warning("ads.health_before_first_request", peer=self._transport.peer)
            body = await read()
        raise EOFError("the stream ended before its first request")

    async def _admit(self, proxy: Proxy) -> None:
        """Open a session for a proxy, in its turn, if the caller may be that proxy."""
        self.proxy = proxy
        self._credential.check(proxy)
        await self._serving.machines.joined(proxy, self._credential)  # may take long: others do not wait
        try:
            async with self._serving.opening.entered(self._transport.address):
                self._session = await self._serving.source.open(proxy, self._changed)
        except BaseException:
            self._serving.machines.left(proxy)
            raise

    def _begin(self, body: bytes) -> None:
        """Take up the session with the first request."""
        self._snapshot = self._session.snapshot
        if self._variant is Variant.DELTA:
            self._split = takes_virtual_hosts(self.proxy, offered=self._serving.virtual_hosts)
        self._serve()
        self._state = self._lockstep.begin(self._variant, self._served, self._session.missing)
        try:
            self._receive(body)
        except BaseException:
            self._session.close()
            self._serving.machines.left(self.proxy)
            raise
        self._begun = True
        self.wake()

    def _serve(self) -> None:
        """Note the snapshot in the form in which this proxy gets it."""
        self._served = self._serving.cache.served(self._snapshot, self._access, split=self._split)

    async def ended(self) -> None:
        """Return when the stream has ended.

        Raises:
            StreamRefused: a request was malformed.
            Exception: what ``fail`` was told, or an error of our own.
        """
        if self._end is not None:
            await self._end

    def close(self) -> None:
        """Give back what an opened stream holds."""
        self._over = True
        if self._end is not None:
            self._end.cancel()
            self._end = None  # what it holds leads back here by its traceback
        if self._timer is not None:
            self._timer.cancel()
        if self._following is not None:
            self._following.cancel()
        self._session.close()
        self._serving.machines.left(self.proxy)

    def end(self) -> None:
        """End the stream once what is due has been written.

        Not earlier: a proxy that is left between a cluster and its load assignment would keep that cluster warming.
        """
        self._ending = True
        self.wake()

    def send_away(self) -> None:
        """End the stream likewise; its proxy is to open the next one on another connection."""
        self.elsewhere = True
        self.end()

    def fail(self, error: Exception) -> None:
        """End the stream at once."""
        if self._end is not None and not self._over:
            self._over = True
            self._end.set_exception(error)

    def _changed(self) -> None:
        if not self._begun:
            return  # its session is there, but not yet here: what it begins with has the change
        if self._changed_at is None:
            self._changed_at = self._serving.observer.changed_at
            self._sent = False
        self.wake()

    def wake(self) -> None:
        """Look for something to send, soon; costs next to nothing."""
        if not self._due_turn and not self._over:
            self._due_turn = True
            self._serving.turns.add(self)

    def turn(self) -> None:
        """Send what is due, if there is room."""
        self._due_turn = False
        try:
            self._transport.together(self._send)
        except Exception as error:  # noqa: BLE001 - it is raised from ``ended``
            self.fail(error)

    def receive(self, body: bytes) -> None:
        """Take a request, and send what it makes due. What is wrong with it ends the stream."""
        if self._over:
            return
        try:
            self._receive(body)
            if not self._due_turn:
                self._send()
        except Exception as error:  # noqa: BLE001 - it is raised from ``ended``
            self.fail(error)

    def _send(self) -> None:
        while not self._over and self._transport.writable:
            snapshot = self._session.snapshot
            if snapshot is not self._snapshot:
                self._snapshot = snapshot
                self._serve()
            move = self._lockstep.move(self._state, self._served, self._overdue)
            if move.state is not None:
                self._state = move.state
            response = move.response
            if response is not None:
                self._sent_at[response.type_url] = self._loop.time()
                self._sent_revisions[response.type_url] = self._served.revision
                if self._overdue:
                    self._overdue -= {response.type_url}
                self._transport.send(response.body)
                self._serving.observer.sent(response.type_url, len(response.body))
                if self._changed_at is not None:
                    self._note_pushed(response.type_url, self._changed_at, len(response.body))
                self._sent = True
                continue
            self._wait(move.waits_for)
            if self._changed_at is not None and not move.waits_for:
                if self._sent:
                    self._serving.observer.converged(time.perf_counter() - self._changed_at)
                self._changed_at = None
            if self._ending and self._end is not None:
                self._over = True
                self._end.set_result(None)
            return

    def _note_pushed(self, type_url: str, changed_at: float, size_bytes: int) -> None:
        pushed = Pushed(type_url, changed_at, self._served.revision, size_bytes)
        self._pushed[type_url] = pushed
        self._serving.observer.pushed(pushed)

    def _wait(self, types: Iterable[str]) -> None:
        """Come back when the time for an answer to one of these types ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = [self._sent_at[type_url] for type_url in types if type_url not in self._overdue]
        if ends:
            at = min(ends) + self._serving.answer_timeout
            self._timer = self._loop.call_at(at, self._time_out)

    def _time_out(self) -> None:
        since = self._loop.time() - self._serving.answer_timeout
        self._overdue = frozenset(type_url for type_url, at in self._sent_at.items() if at <= since)
        self.wake()

    def _receive(self, body: bytes) -> None:
        received = self._lockstep.receive(self._state, body)
        request, kind = received.request, received.kind
        if request.type_url not in TYPES:
            if request.type_url in _HEALTH_TYPE_URLS:
                self._serving.machines.told_health(self.proxy, request.error or "")
                return
            self._note_unknown(request.type_url)
        if request.type_url == SDS and self._following is None and self._access is SecretAccess.UNKNOWN:
            self._following = self._loop.create_task(self._follow_access())
        if received.state is not None:
            self._state = received.state
            if request.subscribe:
                self._check_names(self._state.watches[request.type_url])
        if kind is Kind.ACK:
            self._acked_revisions[request.type_url] = self._sent_revisions[request.type_url]
            if (pushed := self._pushed.pop(request.type_url, None)) is not None:
                self._serving.observer.acknowledged(pushed)
        elif kind is Kind.NACK:
            self._log_nack(self._state.watches[request.type_url], request)
        elif kind is Kind.STALE:
            self._serving.observer.expired(request.type_url)

    async def _follow_access(self) -> None:
        """Serve what may be read of Secrets, as that changes."""
        try:
            async for access in self._credential.secret_access():
                if access is not self._access:
                    log.info("ads.secret_access", proxy=self.proxy.id, access=access.name)
                    self._access = access
                    self._serve()
                    self.wake()
        except Exception as error:  # noqa: BLE001 - it is raised from ``ended``
            self.fail(error)

    def _check_names(self, watch: Watch) -> None:
        """Refuse names that came to be too many, a few with each request."""
        most = self._serving.limits.max_resource_names
        if len(watch.names) > most:
            self._serving.observer.limit_reached("max_resource_names")
            raise StreamRefused(Refusal.TOO_MANY, f"{len(watch.names)} names are over the limit of {most}")

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
        if request.nonce == watch.nonce and (pushed := self._pushed.pop(watch.type_url, None)) is not None:
            self._serving.observer.not_taken(pushed)
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
        served, type_url = self._state.served, watch.type_url
        current = watch.sent is served.of(watch.type) and not watch.due and not watch.owed and not self._has_news(watch)
        acked = current and watch.flight is None and watch.refused is None
        sent_at = self._sent_at.get(type_url)
        failures = served.of(watch.type).failures
        return TypeStatus(
            sync=_sync(watch, current=current),
            sent_version=watch.version,
            acked_version=watch.acked_version,
            sent_nonce=watch.nonce,
            acked_nonce=watch.acked_nonce,
            # A snapshot in which nothing of this type changed for this proxy needs no response to be in force.
            sent_revision=served.revision if current else self._sent_revisions.get(type_url, 0),
            acked_revision=served.revision if acked else self._acked_revisions.get(type_url, 0),
            sent_at=self._clock_began + timedelta(seconds=sent_at) if sent_at is not None else None,
            names=None if watch.wildcard else watch.names,
            rejection=_rejection(watch),
            failed={name: reason for name, reason in failures.reasons.items() if name == WHOLE or watch.covers(name)},
        )

    def _has_news(self, watch: Watch) -> bool:
        """Whether there is something of a type that waits for this stream's turn, or for room.

        In a copy of the process no stream has turns: there it stands as it stood when the copy was made.
        """
        newest, type_ = self._session.snapshot, watch.type
        waits = self._due_turn or not self._transport.writable
        if not waits or newest is self._snapshot or type_ is None:
            return False
        made_of = ResourceType.ROUTE if type_ is ResourceType.VIRTUAL_HOST else type_
        return newest.of(made_of) is not self._snapshot.of(made_of)

    @property
    def proxy_class(self) -> Hashable:
        """What kind of proxy it is, when asked."""
        return self._session.proxy_class

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
