"""How connections are treated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class ConnectionOptions:
    """How connections are treated; the names are gRPC's.

    A peer that answers no ping within ``keepalive_timeout`` is gone. ``max_age`` (``None``: for ever) is spread by a
    tenth both ways, so that connections that began together do not end together.
    """

    max_streams: int = 100_000
    largest_message: int = 4 << 20
    keepalive_interval: timedelta = timedelta(seconds=30)
    keepalive_timeout: timedelta = timedelta(seconds=10)
    max_age: timedelta | None = None
    max_age_grace: timedelta = timedelta(seconds=10)
