"""What somebody who counts may want to hear of, as it happens."""

from __future__ import annotations

import time


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

    def pushed(self, type_url: str, seconds: float) -> None:
        """A response of this type with a change goes out, so long after it."""

    def refused(self, type_url: str) -> None:
        """A proxy refused a response."""

    def expired(self, type_url: str) -> None:
        """A request answered a response that was replaced since, or that is not ours."""

    def failed(self) -> None:
        """An error of our own ended a stream."""

    def limit_reached(self, limit: str) -> None:
        """A peer ran into a limit; the name is a field's of ``Limits``."""
