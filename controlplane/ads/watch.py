"""The values that the protocol core works on: what one stream has asked for, was sent and has answered."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from controlplane.ads.contents import EMPTY, NO_NAMES, Contents, Names, ServedSnapshot
from controlplane.snapshots import Resource, ResourceType

WILDCARD = "*"

TYPES: Mapping[str, ResourceType] = {type_.value: type_ for type_ in ResourceType}
"""Known types by type URL."""

PUSH_ORDER: Mapping[str, int] = {type_.value: index for index, type_ in enumerate(ResourceType)}
"""Make before break: clusters, load assignments, listeners, routes, then what hangs on them; other types last."""

CDS, EDS = ResourceType.CLUSTER.value, ResourceType.ENDPOINT.value
LDS, RDS = ResourceType.LISTENER.value, ResourceType.ROUTE.value
SDS, VHDS, ECDS = ResourceType.SECRET.value, ResourceType.VIRTUAL_HOST.value, ResourceType.EXTENSION.value

FULL_SETS = frozenset({ResourceType.CLUSTER, ResourceType.LISTENER, ResourceType.NAME_TABLE, ResourceType.TRUST_BUNDLE})
"""Types whose state-of-the-world responses are complete: what is absent is deleted.

Reference: xDS protocol, "Grouping Resources into Responses"; for the name table and the trust bundle, one
unnamed resource each, it is the same.
"""


class Variant(Enum):
    """The two forms of the protocol; each has its own method on the service."""

    SOTW = "SotW"
    DELTA = "delta"

    __hash__ = object.__hash__  # members are singletons; plans and states are hashed for every message


class Kind(Enum):
    """What a request turned out to be."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    ACK = "ack"
    NACK = "nack"
    STALE = "stale"


class Request(NamedTuple):
    """One request, of either variant.

    ``error`` is Envoy's message when it refuses a response. ``subscribe`` holds all names in SotW, those to add in
    delta; ``unsubscribe`` and ``held`` (``initial_resource_versions``) exist in delta only. ``resumed``: the proxy
    comes with state from an earlier stream.
    """

    type_url: str
    nonce: str = ""
    error: str | None = None
    subscribe: Names = NO_NAMES
    unsubscribe: Names = NO_NAMES
    held: Mapping[str, str] = MappingProxyType({})
    resumed: bool = False


class Refused(NamedTuple):
    """A refusal: the response it was for, Envoy's message, and when it came (seconds since the epoch)."""

    version: str
    nonce: str
    message: str
    at: float


class Flight(NamedTuple):
    """A response that was sent and not answered yet.

    ``names`` are all that it changes at the proxy, removals too. ``base`` is what the proxy held before, kept for
    listeners and routes only. ``adds``: it brings clusters that the proxy did not have. ``cures``: it changes a
    resource that may be why an earlier response was refused.
    """

    nonce: str
    version: str
    names: Names
    base: Contents | None = None
    adds: bool = False
    cures: bool = False


Missing = Callable[[ResourceType, str], Resource | None]
"""Answers for a subscribed name that the snapshot lacks."""


class Watch(NamedTuple):
    """One type on one stream.

    The subscription is ``names`` and, with ``wildcard``, all that the snapshot has; ``legacy`` says that the wildcard
    comes from naming nothing. ``closed``: SotW, unsubscribed from everything.

    ``sent`` is the contents that the subscription was last brought up to, except for the names in ``due``, which are
    to be sent whatever the difference says. ``owed``: a response must go out even if it is empty. ``retained`` are
    resources that left the snapshot while the proxy may still need them.

    ``doubtful`` are names of refused responses whose contents the proxy may or may not have taken. While a response
    is unanswered or doubtful, the proxy may also hold what is in ``lingering``, or, if ``unknown``, anything.

    ``nonce``, ``sequence`` and ``version`` are those of the last response; ``acked_...`` of the last one acknowledged.
    """

    type_url: str
    type: ResourceType | None
    wildcard: bool = False
    legacy: bool = False
    names: Names = NO_NAMES
    closed: bool = False
    resumed: bool = False
    sent: Contents = EMPTY
    due: Names = NO_NAMES
    owed: bool = True
    retained: frozenset[Resource] = frozenset()
    flight: Flight | None = None
    doubtful: Names = NO_NAMES
    lingering: tuple[Contents, ...] = ()
    unknown: bool = False
    nonce: str = ""
    sequence: int = 0
    version: str = ""
    acked_nonce: str = ""
    acked_version: str = ""
    refused: Refused | None = None

    def covers(self, name: str) -> bool:
        """Whether the subscription includes this name."""
        return self.wildcard or name in self.names


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class StreamState:
    """All of one stream that matters for what comes next. ``watches`` are by type URL, in push order.

    ``missing`` answers for subscribed names that the snapshot lacks. ``warmed`` are clusters sent while the proxy
    was not watching load assignments. There is no time in it, so streams that went the same way have equal states,
    and ``steps`` are those that were taken from here (see ``lockstep``).
    """

    variant: Variant
    served: ServedSnapshot
    missing: Missing
    watches: Mapping[str, Watch] = field(default_factory=dict)
    warmed: Names = NO_NAMES
    steps: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Hashable:
        """Equal for equal states."""
        return (self.variant, self.served, self.missing, tuple(self.watches.values()), self.warmed)

    def with_served(self, served: ServedSnapshot) -> StreamState:
        """Return the state with another goal."""
        return StreamState(self.variant, served, self.missing, self.watches, self.warmed)

    def with_warmed(self, warmed: Names) -> StreamState:
        """Return the state with other clusters noted as sent before their load assignments were watched."""
        return StreamState(self.variant, self.served, self.missing, self.watches, warmed)

    def watch(self, type_url: str) -> Watch | None:
        """Return the watch of a type; ``None`` without one, or when all of it was unsubscribed."""
        watch = self.watches.get(type_url)
        return None if watch is None or watch.closed else watch

    def putting(self, watch: Watch) -> StreamState:
        """Return the state with this watch in place of the one of its type."""
        watches = {**self.watches, watch.type_url: watch}
        if watch.type_url not in self.watches:
            order = sorted(watches.values(), key=lambda w: PUSH_ORDER.get(w.type_url, len(PUSH_ORDER)))
            watches = {w.type_url: w for w in order}
        return StreamState(self.variant, self.served, self.missing, watches, self.warmed)


def union(first: Names, second: Names) -> Names:
    """Return both; if one is empty or both are the same, an existing set and no copy."""
    if not second or first is second:
        return first
    return first | second if first else second
