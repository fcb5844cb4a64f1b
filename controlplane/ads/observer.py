"""What somebody who counts may want to hear of, as it happens."""

from __future__ import annotations

import time
from typing import NamedTuple


class Pushed(NamedTuple):
    """A response that brings a change: its type, and the revision of what is in it.

    ``changed_at`` is when the oldest change came that is in it, by ``time.perf_counter``.
    """

    type_url: str
    changed_at: float
    revision: int
    size_bytes: int


class Observer:
    """Is told of events on streams; this one ignores them all. Calls are on the hot path and must not fail or wait.

    ``changed_at`` is when the configuration changed that is being pushed, by ``time.perf_counter``; whoever knows sets
    it before the push.
    """

    def __init__(self) -> None:
        self.changed_at = time.perf_counter()

    def converged(self, seconds: float) -> None:
        """A proxy has been sent all of a change, so long after it."""

    def sent(self, type_url: str, size_bytes: int) -> None:
        """A response of this type goes out."""

    def pushed(self, pushed: Pushed) -> None:
        """A response with a change goes out."""

    def acknowledged(self, pushed: Pushed) -> None:
        """A proxy has accepted a response with a change."""

    def not_taken(self, pushed: Pushed) -> None:
        """A proxy has refused a response with a change; ``refused`` is called, too."""

    def refused(self, type_url: str) -> None:
        """A proxy refused a response."""

    def expired(self, type_url: str) -> None:
        """A request answered a response that was replaced since, or that is not ours."""

    def failed(self) -> None:
        """An error of our own ended a stream."""

    def limit_reached(self, limit: str) -> None:
        """A peer ran into a limit; the name is a field's of ``Limits``."""
