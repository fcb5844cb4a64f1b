"""How a source of objects is doing, kind by kind; what metrics, readiness and status tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """How a feed is doing.

    ``LISTING``: its first list is not complete. ``CURRENT``: as far as can be known it is equal to the cluster.
    ``BEHIND``: it was, and its watch has ended. ``ABSENT``: the cluster does not serve this kind.
    """

    LISTING = "listing"
    CURRENT = "current"
    BEHIND = "behind"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Feed:
    """One resource (``pods``, ``virtualservices.networking.istio.io``) of one namespace, or of all (empty).

    ``objects`` counts what is held, ``events`` what changes the watch brought, ``lists`` complete lists,
    ``size_bytes`` what was read after decompression. ``last_event`` is when the server last said something about this
    feed, in seconds since the epoch, 0 for never. ``lag_seconds`` is for how long it has not been known to be
    current; 0 while its watch stands. ``problem`` says why, empty while there is none.
    """

    resource: str
    namespace: str
    standing: Standing
    objects: int
    events: int
    lists: int
    size_bytes: int
    last_event: float
    lag_seconds: float
    problem: str

    @property
    def listed(self) -> bool:
        """Whether all there is has been read once."""
        return self.standing is not Standing.LISTING
