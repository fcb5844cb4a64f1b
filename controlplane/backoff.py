"""Pauses between attempts: the only back-off of the program.

In: how often something failed in a row. Out: how long to wait before the next attempt. Whoever fails at the same moment
as others does not come back at the same moment as they: each pause has a random part.
"""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double from ``first`` up to ``longest`` seconds, each between half and all of that at random."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many failures there were in a row."""
        return self._failures

    def reset(self) -> None:
        """Begin anew: something worked."""
        self._failures = 0

    def pause(self, at_least: float = 0.0) -> float:
        """Return the seconds to wait after one more failure.

        ``at_least`` is what the server asked for; a tenth is added at random, so that not all clients come back at
        the same moment.
        """
        full = min(self._first * 2.0 ** min(self._failures, 30), self._longest)
        self._failures += 1
        return max(full * random.uniform(0.5, 1.0), at_least * random.uniform(1.0, 1.1))  # noqa: S311 - no secret
