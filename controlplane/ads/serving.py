"""What a stream is given: the connection of its proxy, and what it shares with all other streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from controlplane.ads.contents import SnapshotCache
from controlplane.ads.fair import Gate
from controlplane.ads.lockstep import Lockstep
from controlplane.ads.machines import Machines
from controlplane.ads.observer import Observer
from controlplane.ads.source import SnapshotSource
from controlplane.ads.turns import Turns
from controlplane.limits import Limits
from controlplane.rope import Body

_OPENED_AT_ONCE = 4


class Transport(Protocol):
    """One proxy's connection, as a stream needs it."""

    @property
    def peer(self) -> str:
        """Where the proxy connects from, for people to read."""
        ...

    @property
    def address(self) -> str:
        """Likewise without the port: what limits know it by."""
        ...

    @property
    def writable(self) -> bool:
        """Whether a response can be sent now."""
        ...

    def send(self, message: Body) -> None:
        """Write one response; only when ``writable``."""
        ...

    def together(self, work: Callable[[], None]) -> None:
        """Do something; all that it sends goes out at once."""
        ...


@dataclass(frozen=True)
class Serving:
    """What all streams of a server share. An unanswered response holds others up for ``answer_timeout`` seconds.

    ``virtual_hosts``: proxies that can take virtual hosts one by one do, unless they say no.
    """

    source: SnapshotSource
    answer_timeout: float
    observer: Observer
    limits: Limits = field(default_factory=Limits)
    cache: SnapshotCache = field(default_factory=SnapshotCache)
    turns: Turns = field(default_factory=Turns)
    unknown_types: set[str] = field(default_factory=set)
    machines: Machines = field(default_factory=Machines)
    virtual_hosts: bool = False

    @cached_property
    def lockstep(self) -> Lockstep:
        """The states of all streams."""
        return Lockstep(self.limits, self.observer.limit_reached)

    @cached_property
    def opening(self) -> Gate:
        """Where streams wait for their first snapshot, those of each address in their turn."""
        most = self.limits.max_waiting_calls
        return Gate(_OPENED_AT_ONCE, ("max_waiting_calls", most), self.observer.limit_reached)
