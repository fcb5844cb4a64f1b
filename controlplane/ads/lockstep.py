"""Takes each step of the protocol once for all streams that are in the same state.

The proxies of a class ask for the same, are sent the same and answer the same. The protocol core is pure, so streams
in equal states can share one state object, and the step that the first of them takes is the step of all. A stream
that goes its own way has a state of its own, for as long as that differs, and its steps are computed for it alone.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from controlplane.ads.contents import Names, ServedSnapshot
from controlplane.ads.protocol import offer, receive
from controlplane.ads.responses import Plan, respond, waits_for
from controlplane.ads.watch import TYPES, Kind, Missing, Request, StreamState, Variant
from controlplane.ads.wire import Decoder, Encoder, Response
from controlplane.limits import Limits, Reached, unheard

_KEPT_SECONDS = 5.0
"""How long, at most, a state is kept for streams that come to it after the last one has left it, as when a thousand
reconnect. Steps are remembered no longer: each holds the state after it, so a stream that cannot move on would hold
all that the others have been sent since. It also bounds how much later than noted a refusal may have come."""
_MOST_KEPT_BYTES = 16 << 20
"""Of requests, their names, and responses that only states kept in this way remember."""
_MOST_STEPS = 64
"""Remembered of one state; a stream may go round in circles."""
_LONGEST_REMEMBERED = 1000
"""Bytes of a request as it came; longer ones name many resources, in an order that is seldom the same."""
_NAME_BYTES = 150
"""What a name takes in a set, with its text, about."""
_HELD = Request._fields.index("held")


def _size_of_names(before: StreamState, after: StreamState, type_url: str) -> int:
    """Return how many bytes a request's names take in the state after it, that those of before do not hold, about."""
    old, new = before.watches.get(type_url), after.watches.get(type_url)
    return 0 if new is None or (old is not None and new.names is old.names) else _NAME_BYTES * len(new.names)


class Received(NamedTuple):
    """A request, what it turned out to be, and the state after it; ``None``: the same as before."""

    state: StreamState | None
    request: Request
    kind: Kind


class Move(NamedTuple):
    """What can be sent next, and the state once it is; ``None``: the same as before.

    Without a ``response``, ``waits_for`` are the types whose answers what is due has to wait for.
    """

    state: StreamState | None
    response: Response | None
    waits_for: tuple[str, ...] = ()


class Lockstep:
    """The states of all streams of a server, and the steps between them."""

    def __init__(self, limits: Limits | None = None, reached: Reached = unheard) -> None:
        limits = limits or Limits()
        self._encoder = Encoder(limits.response_cache_size)
        self._decoders: Mapping[Variant, Decoder] = {variant: Decoder(variant, limits, reached) for variant in Variant}
        self._states: weakref.WeakValueDictionary[Hashable, StreamState] = weakref.WeakValueDictionary()
        self._kept: list[StreamState] = []
        self._kept_bytes = 0
        self._left: weakref.WeakSet[StreamState] = weakref.WeakSet()  # states that remember steps
        self._letting_go = False

    @property
    def state_count(self) -> int:
        """How many different states streams are in, or were in lately."""
        return len(self._states)

    def decoder(self, variant: Variant) -> Decoder:
        """Return what reads the requests of a variant."""
        return self._decoders[variant]

    def begin(self, variant: Variant, served: ServedSnapshot, missing: Missing) -> StreamState:
        """Return the state of a stream that has asked for nothing yet."""
        return self._shared(StreamState(variant, served, missing))

    def receive(self, state: StreamState, body: bytes) -> Received:
        """Take a request.

        Raises:
            StreamRefused: it is malformed.
        """
        short = len(body) <= _LONGEST_REMEMBERED  # a long one is not even hashed
        found: Received | None = state.steps.get(body) if short else None
        if found is None:
            request = self._decoders[state.variant].request(body, state.served)
            found = self._received(state, request)
            if short:
                self._remember(state, body, found, len(body))
        return found

    def _received(self, state: StreamState, request: Request) -> Received:
        """Take a request that proxies may write in different ways: names and versions come in any order."""
        # Without the first half each answer of a proxy would have the versions of all that it is served listed anew.
        whole = bool(request.held) and request.held is state.served.of(TYPES.get(request.type_url)).versions
        if request.held and not whole:
            return self._receive(state, request)
        occasion = (whole, request.resumed, *request[:_HELD])
        found: Received | None = state.steps.get(occasion)
        if found is None:
            found = self._receive(state, request)
            self._remember(state, occasion, found, 0)
        return found

    def move(self, state: StreamState, served: ServedSnapshot, overdue: Names) -> Move:
        """Decide what is sent next to reach this snapshot, and encode it. ``overdue`` is as in ``respond``."""
        found: Move | None = state.steps.get((served, overdue))
        if found is None:
            found = self._move(state, served, overdue)
            size = found.response.own_size if found.response is not None else 0
            if found.response is None or not found.response.is_private:
                self._remember(state, (served, overdue), found, size)
        return found

    def _receive(self, before: StreamState, request: Request) -> Received:
        state, kind = receive(before, request, time.time())
        after = self._after(before, state)
        if after is not None:
            self._keep(after, _size_of_names(before, after, request.type_url))
        return Received(after, request, kind)

    def _move(self, before: StreamState, served: ServedSnapshot, overdue: Names) -> Move:
        def encode(plan: Plan, after: int) -> Response:
            return self._encoder.encode(plan, after, served.revision)

        state = before if before.served is served else offer(before, served)
        state, response = respond(state, encode, overdue)
        return Move(self._after(before, state), response, waits_for(state) if response is None else ())

    def _after(self, before: StreamState, state: StreamState) -> StreamState | None:
        return None if state is before else self._shared(state)

    def _shared(self, state: StreamState) -> StreamState:
        """Return the one object for this state."""
        shared = self._states.setdefault(state.identity, state)
        if shared is state:
            self._keep(state, 0)
        return shared

    def _remember(self, state: StreamState, occasion: Hashable, step: Received | Move, size: int) -> None:
        if len(state.steps) >= _MOST_STEPS:
            state.steps.clear()
        state.steps[occasion] = step
        self._left.add(state)
        self._keep(state, size)

    def _keep(self, state: StreamState, size: int) -> None:
        self._kept_bytes += size
        if self._kept_bytes > _MOST_KEPT_BYTES:
            self._forget()
            self._kept_bytes = size
        self._kept.append(state)
        if not self._letting_go:
            self._letting_go = True
            asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._let_go)

    def _let_go(self) -> None:
        self._letting_go = False
        self._forget()

    def _forget(self) -> None:
        """Forget states that only this keeps, and all steps: one from a state that many begin in holds the next."""
        self._kept.clear()
        self._kept_bytes = 0
        for state in tuple(self._left):
            state.steps.clear()
        self._left.clear()
