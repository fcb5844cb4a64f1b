"""How what was made of a change goes out to proxies, and how soon they acknowledge it."""

from __future__ import annotations

from collections import Counter


class Delivery:
    """Counts the responses that brought a change to proxies. It goes on counting after the change was told of.

    ``responses`` were sent, of ``size_bytes`` together; ``acknowledged`` of them were accepted by their proxy, and
    ``refused`` were not. A response that brings several changes counts for each of them.
    """

    __slots__ = ("_times", "acknowledged", "last_seconds", "refused", "responses", "size_bytes")

    def __init__(self) -> None:
        self.responses = self.size_bytes = self.acknowledged = self.refused = 0
        self.last_seconds = 0.0
        """From the change to the last acknowledgement, 0 while there is none."""
        self._times: Counter[float] = Counter()  # rounded, so that there are few, whoever acknowledges

    def sent(self, size_bytes: int) -> None:
        """Count a response."""
        self.responses += 1
        self.size_bytes += size_bytes

    def answered(self, seconds: float) -> None:
        """Count an acknowledgement, so long after the change."""
        self.acknowledged += 1
        self.last_seconds = max(self.last_seconds, seconds)
        self._times[float(f"{seconds:.2g}")] += 1

    def add(self, other: Delivery, but: Delivery) -> None:
        """Count what the other has counted, too, but for the part of it that is counted here already."""
        self.responses += other.responses - but.responses
        self.size_bytes += other.size_bytes - but.size_bytes
        self.acknowledged += other.acknowledged - but.acknowledged
        self.refused += other.refused - but.refused
        self.last_seconds = max(self.last_seconds, other.last_seconds)
        self._times += other._times - but._times

    def within(self, share: float) -> float | None:
        """Return the seconds in which this share of the acknowledgements came, to two digits; ``None`` without any."""
        left = share * self.acknowledged
        for seconds, count in sorted(self._times.items()):
            left -= count
            if left <= 0:
                return seconds
        return None
