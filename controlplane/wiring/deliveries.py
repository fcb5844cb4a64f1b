"""Joins each response to the changes that it brings, so that each change knows when its last proxy had it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from controlplane.ads.observer import Pushed
from controlplane.model.delivery import Delivery

MOST_OPEN = 64
"""Changes whose answers are still waited for; there are a few in a second."""


@dataclass(slots=True)
class _Change:
    """A change that is being pushed: when it came, and the revision that it found.

    ``shared`` is the part of ``delivery`` that counts for the changes before it, too, which are not told of yet.
    """

    at: float
    before: int
    delivery: Delivery = field(default_factory=Delivery)
    shared: Delivery = field(default_factory=Delivery)


class Deliveries:
    """Keeps the last changes, each with what it became; several that are told of together are counted together."""

    def __init__(self) -> None:
        self._changes: deque[_Change] = deque(maxlen=MOST_OPEN)
        self._begun: _Change | None = None
        self._untold: Delivery | None = None

    def begin(self, at: float, before: int) -> None:
        """A change that came at that time (``time.perf_counter``) is compiled now; the revision is the one before it.

        Classes of proxies are served as each is ready, so answers may come before all is compiled.
        """
        self._begun = _Change(at, before)
        self._changes.append(self._begun)

    def compiled(self) -> None:
        """The change that was begun is compiled."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        if self._untold is not None:
            self._untold.add(begun.delivery, but=begun.shared)
            begun.delivery = self._untold
        self._untold = begun.delivery

    def told(self) -> Delivery | None:
        """Return what the changes are counted in that were compiled since this was asked last."""
        untold, self._untold = self._untold, None
        if self._begun is not None:
            self._begun.shared = Delivery()
        return untold

    def sent(self, pushed: Pushed) -> None:
        """A response with changes goes out."""
        for delivery in self._of(pushed):
            delivery.sent(pushed.size_bytes)

    def acknowledged(self, pushed: Pushed) -> None:
        """A proxy has accepted such a response."""
        now = time.perf_counter()
        for delivery, since in self._of(pushed).items():
            delivery.answered(now - since)

    def refused(self, pushed: Pushed) -> None:
        """A proxy has refused such a response."""
        for delivery in self._of(pushed):
            delivery.refused += 1

    def _of(self, pushed: Pushed) -> dict[Delivery, float]:
        """Return what counts a response, and when the first change came that it brought of those counted there."""
        found: dict[Delivery, float] = {}
        for change in reversed(self._changes):
            if change.at < pushed.changed_at:
                break
            if change.before < pushed.revision:
                found[change.delivery] = change.at
        if self._begun is not None and self._untold in found and self._begun.delivery in found:
            found[self._begun.shared] = self._begun.at
        return found
