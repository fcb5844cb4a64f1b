"""What happened lately to the configuration: for those who look at a control plane while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from controlplane.model.delivery import Delivery

_NEVER = datetime.fromtimestamp(0, UTC)


class Happened(StrEnum):
    """What an event is about.

    ``ACCEPTED``: objects were read anew, and are in force soon. ``REFUSED``: objects were read that cannot be used.
    ``PUSHED``: what proxies get was built anew. ``NACKED``: proxies refused what they were sent.
    """

    ACCEPTED = "accepted"
    REFUSED = "refused"
    PUSHED = "pushed"
    NACKED = "nacked"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, or several of a moment in one.

    ``number`` counts from 1 since the program started. ``objects`` is how many objects it is about, or, of ``NACKED``,
    how many answers of proxies; ``changed``, ``removed`` and ``refused`` are the first of them by name (types of
    resources, of ``NACKED``). ``authors`` are those who wrote ``changed``, in its order, empty where it is not known.
    Of ``PUSHED``: ``targets`` resources were built in ``milliseconds``, for ``proxies`` proxies of ``classes`` kinds,
    at ``revision``; ``delivery`` counts what became of that, and goes on with it; there is none at the start.
    """

    happened: Happened
    objects: int
    number: int = 0
    at: datetime = _NEVER
    changed: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    revision: int = 0
    targets: int = 0
    classes: int = 0
    proxies: int = 0
    milliseconds: float = 0.0
    delivery: Delivery | None = None
