"""How many kinds of proxies are connected, in all and at one address.

Configuration is made and held for each kind, and what a proxy says of itself decides which one it is: a peer must not
be able to think up ever new ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.limits import Limits, Reached


class ClassPlaces:
    """Counts the streams of each class, and of each class at each address."""

    def __init__(self, limits: Limits, reached: Reached) -> None:
        self._reached = reached
        self._limited = (
            ("max_proxy_classes_per_address", limits.max_proxy_classes_per_address),
            ("max_proxy_classes", limits.max_proxy_classes),
        )
        self._all: Counter[Hashable] = Counter()
        self._at: dict[str, Counter[Hashable]] = {}

    def enter(self, address: str, proxy_class: Hashable) -> None:
        """Count a stream.

        Raises:
            StreamRefused: it is of one class too many, and is not counted.
        """
        here = self._at.get(address)
        if here is None:
            here = self._at[address] = Counter()
        for (limit, most), places in zip(self._limited, (here, self._all), strict=True):
            if len(places) >= most and proxy_class not in places:
                self._reached(limit)
                if not here:
                    del self._at[address]
                raise StreamRefused(Refusal.TOO_MANY, f"there are {len(places)} different kinds of proxies already")
        here[proxy_class] += 1
        self._all[proxy_class] += 1

    def leave(self, address: str, proxy_class: Hashable) -> None:
        """Note that a stream has ended."""
        here = self._at[address]
        for places in (here, self._all):
            places[proxy_class] -= 1
            if not places[proxy_class]:
                del places[proxy_class]
        if not here:
            del self._at[address]
