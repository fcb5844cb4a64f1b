"""How connections are treated."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from controlplane.limits import Limits, Reached, unheard


@dataclass(frozen=True)
class ConnectionOptions:
    """How connections are treated; the names are gRPC's.

    A peer that answers no ping within ``keepalive_timeout`` is gone. ``max_age`` (``None``: for ever) is spread by a
    tenth both ways, so that connections that began together do not end together. ``reached`` hears of limits that
    peers run into.
    """

    max_streams: int = 4_000
    largest_message: int = 32 << 20
    keepalive_interval: timedelta = timedelta(seconds=30)
    keepalive_timeout: timedelta = timedelta(seconds=10)
    max_age: timedelta | None = None
    max_age_grace: timedelta = timedelta(seconds=10)
    limits: Limits = field(default_factory=Limits)
    reached: Reached = unheard
