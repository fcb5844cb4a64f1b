"""The xDS protocol's receiving half: one pure step per request, the same for state of the world and delta.

What a step decides is in the state it returns: names that are now due, a response that is owed even if empty, an
answered or refused flight. What is sent next follows from that state alone (``responses``).

References are to Envoy's "xDS REST and gRPC protocol" unless they say otherwise.
"""

from __future__ import annotations

from collections import OrderedDict

from controlplane.ads.contents import EMPTY, NO_NAMES, Contents, Names, ServedSnapshot, placeholder
from controlplane.ads.watch import (
    EDS,
    RDS,
    TYPES,
    VHDS,
    WILDCARD,
    Kind,
    Refused,
    Request,
    StreamState,
    Variant,
    Watch,
    union,
)
from controlplane.snapshots import ResourceType

_STAR: Names = frozenset({WILDCARD})
_MOST_LINGERING = 4


def offer(state: StreamState, served: ServedSnapshot) -> StreamState:
    """Return the state with a newer snapshot as its goal; one that was not sent yet is forgotten."""
    return state.with_served(served)


def receive(state: StreamState, request: Request, now: float) -> tuple[StreamState, Kind]:
    """Take one request: return the state after it, and what it was. ``now`` is in seconds since the epoch."""
    watch = state.watch(request.type_url)
    if watch is None:
        # Whatever its nonce says: nonces belong to one stream, and this type is new on it ("ACK", "nonce").
        return _first(state, request)
    if request.error is not None:
        return _nack(state, watch, request, now)
    if request.nonce and request.nonce != watch.nonce:
        return _stale(state, watch, request)
    kind = Kind.SUBSCRIBE
    if request.nonce and watch.flight is not None:
        # Without a flight the nonce was answered before; the request then only changes the subscription. After a
        # NACK that matters: Envoy repeats the refused nonce, and that is no acknowledgement.
        watch, kind = _acknowledged(watch, whole=not _additive(state) and watch.wildcard), Kind.ACK
    return _resubscribe(state, watch, request, kind)


def _first(state: StreamState, request: Request) -> tuple[StreamState, Kind]:
    """Begin a watch. It is always answered, if need be with nothing: Envoy waits for it."""
    type_ = TYPES.get(request.type_url)
    known = state.watches.get(request.type_url)
    if state.variant is Variant.SOTW and not request.subscribe and type_ is not None and not type_.wildcard:
        # An empty list of names means that the proxy wants none ("Unsubscribing From Resources").
        closed = known or Watch(request.type_url, type_, closed=True, owed=False)
        return state.putting(closed), Kind.UNSUBSCRIBE
    contents = state.served.of(type_)
    # A client that never named anything is treated as having named all: the legacy wildcard.
    legacy = not request.subscribe and type_ is not None and type_.wildcard
    wildcard = (legacy or WILDCARD in request.subscribe) and WILDCARD not in request.unsubscribe
    names = request.subscribe - _STAR if WILDCARD in request.subscribe else request.subscribe
    if request.unsubscribe:
        names = names - request.unsubscribe
    if request.held and not wildcard:
        # Names that the proxy holds count as subscribed, as with istiod; Envoy names them in both places.
        held = contents.names if request.held is contents.versions else frozenset(request.held)
        names = union(names, held - request.unsubscribe if request.unsubscribe else held)
        if names is not contents.names and names == contents.names:
            names = contents.names
    # Nonces stay unique on the stream, also where a proxy begins a type again.
    sequence = known.sequence if known is not None else 0
    watch = Watch(request.type_url, type_, wildcard, legacy, names, resumed=request.resumed, sequence=sequence)
    if request.held:
        watch = _resumed(state, watch, request, contents)
    else:
        watch = watch._replace(sent=EMPTY if wildcard else contents, due=names)
    if request.type_url == EDS:
        # Clusters that this stream changed before: each waits for its load assignment ("Resource warming").
        warmed = state.warmed if wildcard else state.warmed & names
        state, watch = state.with_warmed(NO_NAMES), watch._replace(due=union(watch.due, warmed))
    routes = state.watch(RDS) if request.type_url == VHDS else None
    if routes is not None and routes.flight is not None:
        # Shells that are on their way: the proxy will begin anew with their virtual hosts, whatever it holds of them.
        on_their_way = (contents.routes.get(name, NO_NAMES) for name in routes.flight.names)
        watch = watch._replace(due=watch.due.union(*on_their_way))
    return state.putting(watch), Kind.SUBSCRIBE


def _resumed(state: StreamState, watch: Watch, request: Request, contents: Contents) -> Watch:
    """Begin a delta watch with what the proxy already holds: only what differs is due.

    Reference: DeltaDiscoveryRequest.initial_resource_versions. A version is a hash of the content, so equal versions
    are equal resources whichever replica gave them.
    """
    held, resources = request.held, contents.resources
    everything = watch.names is contents.names or (watch.wildcard and not watch.names - contents.names)
    if held is contents.versions and everything:
        return watch._replace(sent=contents)
    scope = contents.names if watch.wildcard else contents.split(watch.names)[0]
    due = {name for name in scope if held.get(name) != resources[name].version}
    gone = set()
    for name in union(contents.split(watch.names)[1], frozenset(held) - contents.names if watch.wildcard else NO_NAMES):
        if name not in held:
            due.add(name)
            continue
        if watch.type is None:
            due.add(name)
        elif (instead := state.missing(watch.type, name)) is None or instead.version != held[name]:
            gone.add(placeholder(watch.type, name, held[name]))
    return watch._replace(sent=contents, due=frozenset(due), retained=frozenset(gone), unknown=bool(due or gone))


def _nack(state: StreamState, watch: Watch, request: Request, now: float) -> tuple[StreamState, Kind]:
    """Record a refusal. The proxy keeps what it had; the refused response is not sent again ("NACK")."""
    flight = watch.flight
    ours = request.nonce == watch.nonce
    version = watch.version if ours else ""
    watch = watch._replace(refused=Refused(version, request.nonce, request.error or "", now))
    if not ours and request.nonce:
        # A refusal of a response that we have since replaced: worth showing, but it answers nothing in flight.
        return _resubscribe(state, watch, request, Kind.NACK) if _additive(state) else (state.putting(watch), Kind.NACK)
    if flight is not None:
        before = _lingering(watch)._replace(flight=None, doubtful=union(watch.doubtful, flight.names))
        # The proxy may have dropped some of these names since, and with them the reason.
        watch = before if watch.wildcard else _forgiven(before, before._replace(doubtful=before.doubtful & watch.names))
    return _resubscribe(state, watch, request, Kind.NACK)


def _stale(state: StreamState, watch: Watch, request: Request) -> tuple[StreamState, Kind]:
    """Take a request whose nonce is not that of the last response: it acknowledges nothing and gets no answer.

    Delta: what it adds or drops is said only once, and holds. SotW: a proxy that wants more names while a response is
    on its way to it says so under the nonce before ("a race condition that may arise here"). The names are noted, so
    that listeners wait for load assignments already asked for; the answer comes after that response is answered.
    """
    if _additive(state):
        return _resubscribe(state, watch, request, Kind.STALE)
    if watch.flight is None or not request.subscribe:
        return state, Kind.STALE
    return state.putting(_restated(watch, request)), Kind.STALE


def _additive(state: StreamState) -> bool:
    return state.variant is Variant.DELTA


def _acknowledged(watch: Watch, *, whole: bool) -> Watch:
    """Record an acknowledgement; ``whole``: the response had all of a type, so the proxy has what it refused before.

    Clusters that were refused warm only now, and wait for load assignments: they are due once more for these.
    """
    flight = watch.flight
    if flight is None:
        return watch
    if not watch.doubtful or (whole and watch.type is ResourceType.LISTENER):
        return watch._replace(
            flight=None, acked_nonce=flight.nonce, acked_version=flight.version,
            doubtful=NO_NAMES, lingering=(), unknown=False, refused=None,
        )  # fmt: skip
    # The proxy may have dropped good resources of a refused response together with the bad one. Once something of it
    # that has changed is accepted, the others are worth another try; before that they would be refused again.
    doubtful, due = watch.doubtful - flight.names, watch.due
    if doubtful and (flight.cures or whole):
        doubtful, due = NO_NAMES, union(due, doubtful)
    watch = watch._replace(lingering=(), unknown=False) if not doubtful and not due else _lingering(watch)
    refused = watch.refused if doubtful else None
    return watch._replace(
        flight=None, acked_nonce=flight.nonce, acked_version=flight.version,
        doubtful=doubtful, due=due, refused=refused,
    )  # fmt: skip


def _lingering(watch: Watch) -> Watch:
    """Remember what the proxy held before the response in flight, since it may still hold it afterwards."""
    base = watch.flight.base if watch.flight is not None else None
    if base is None or base is EMPTY or base in watch.lingering or watch.unknown:
        return watch
    if len(watch.lingering) == _MOST_LINGERING:  # refused again and again: from here on assume anything
        return watch._replace(lingering=(), unknown=True)
    return watch._replace(lingering=(*watch.lingering, base))


def _resubscribe(state: StreamState, watch: Watch, request: Request, kind: Kind) -> tuple[StreamState, Kind]:
    if state.variant is Variant.DELTA:
        if request.subscribe or request.unsubscribe:
            watch = _changed(watch, request)
        return state.putting(watch), kind
    if not request.nonce and watch.acked_nonce:
        # SotW without a nonce from a proxy that has known one: it starts again with nothing.
        return _first(state.putting(_closed(watch)), request)
    if not request.subscribe and watch.type is not None and not watch.type.wildcard:
        return state.putting(_closed(watch)), Kind.UNSUBSCRIBE
    return state.putting(_restated(watch, request)), kind


def _closed(watch: Watch) -> Watch:
    return watch._replace(
        names=NO_NAMES, closed=True, owed=False, due=NO_NAMES, flight=None, doubtful=NO_NAMES, retained=frozenset(),
        lingering=(), unknown=False, refused=None,
    )  # fmt: skip


def _restated(watch: Watch, request: Request) -> Watch:
    """Apply a SotW request's names: all that the proxy now wants. New ones are due, whether known or not."""
    if request.subscribe == watch.names and not watch.wildcard:
        return watch
    if not request.subscribe and watch.legacy:
        return watch
    before, names = watch, request.subscribe - _STAR
    wildcard = WILDCARD in request.subscribe
    added = names - watch.names
    watch = watch._replace(
        names=names, legacy=False, due=union(watch.due & names if watch.due else NO_NAMES, added),
        doubtful=watch.doubtful if wildcard else watch.doubtful & names,
        retained=watch.retained if wildcard else frozenset(r for r in watch.retained if r.name in names),
        sent=EMPTY if wildcard and not watch.wildcard else watch.sent, wildcard=wildcard,
    )  # fmt: skip
    return _forgiven(before, watch)


def _forgiven(before: Watch, watch: Watch) -> Watch:
    """Drop the refusal once the proxy no longer wants anything that it was about.

    If it still wants some of it, the reason may have been among the rest: what it wants is worth another try.
    """
    if len(before.doubtful) == len(watch.doubtful):
        return watch
    return watch._replace(due=union(watch.due, watch.doubtful), doubtful=NO_NAMES, refused=None)


def _changed(watch: Watch, request: Request) -> Watch:
    """Apply a delta request's additions and removals.

    "The server must resend any newly requested resources, even if it previously sent those": a name is due also when
    it was subscribed already.
    """
    wildcard = (watch.wildcard or WILDCARD in request.subscribe) and WILDCARD not in request.unsubscribe
    added, dropped = request.subscribe - _STAR, request.unsubscribe - _STAR
    due = union(watch.due - dropped, added)
    if wildcard and dropped:
        # The wildcard still covers the dropped names, but the proxy may have forgotten them: say what they are.
        due = union(due, dropped)
    retained = watch.retained
    if retained and dropped and not wildcard:
        retained = frozenset(resource for resource in retained if resource.name not in dropped)
    after = watch._replace(
        wildcard=wildcard, legacy=watch.legacy and not request.subscribe, names=_renamed(watch.names, added, dropped),
        due=due, sent=EMPTY if wildcard and not watch.wildcard else watch.sent,
        doubtful=watch.doubtful - dropped, retained=retained,
    )  # fmt: skip
    return _forgiven(watch, after)


class Renamed:
    """Subscriptions after a change: streams that go the same way get the same object.

    As many are remembered as have ``most`` names together, the latest used. Sets of a few names take the room of more:
    most of it is their own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._known: OrderedDict[tuple[Names, Names, Names], Names] = OrderedDict()

    def __call__(self, names: Names, added: Names, dropped: Names) -> Names:
        """Return the names with those added and without those dropped."""
        key = (names, added, dropped)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        made = self._known[key] = (names | added) - dropped
        self._held += _weight(key, made)
        while self._held > self._most and len(self._known) > 1:
            self._held -= _weight(*self._known.popitem(last=False))
        return made

    def forget(self) -> None:
        """Remember nothing of before."""
        self._known.clear()
        self._held = 0


_SETS = 24
"""Names that take as much room as four sets without any."""


def _weight(key: tuple[Names, Names, Names], made: Names) -> int:
    return _SETS + len(made) + sum(map(len, key))


_renamed = Renamed(250_000)
