"""How many proxies a replica is to hold beside others, and how many it asks to connect anew for that.

In: what each replica holds, as it says itself. Out: this one's share, and how many streams to end. Proxies that are
asked to connect anew go to any replica, so more have to be asked than are too many: where one of three lacks proxies,
each third one goes there. Whoever ends streams looks before each that more than the share is left.

What chance alone makes uneven is even. Of proxies that choose among replicas at random, a replica has its share but for
about the root of it; so it is left alone within twice that, or within a fifth of the share if that is more. What has
begun goes on to a quarter of that: between the two nothing begins, and nothing ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

MARGIN = 0.2
"""Of its share, by which a replica may have more or fewer proxies before anything is done."""
_DEVIATIONS = 2.0
"""Likewise, of what chance makes of it."""
_ONCE_BEGUN = 0.25


class Load(NamedTuple):
    """What one replica holds: so many ``proxies``. One of twice the ``weight`` (above 0) is to hold twice as many."""

    proxies: int
    weight: float = 1.0


class Surplus(NamedTuple):
    """What one replica has too many beside its ``share``; it asks ``ends`` proxies to connect anew.

    ``lacking`` is what all others together are short of their shares, ``each`` what one such proxy takes off that.
    """

    share: int
    ends: int = 0
    lacking: float = 0.0
    each: float = 0.0


class Balance:
    """The rule of one replica; it remembers whether it is evening something out."""

    def __init__(self) -> None:
        self._evening = False

    def surplus(self, own: Load, others: Sequence[Load]) -> Surplus:
        """Return what this replica has too many; nothing while the replicas are even enough, or it holds no more."""
        loads = (own, *others)
        total, weights = sum(each.proxies for each in loads), sum(each.weight for each in loads)
        shares = [total * each.weight / weights for each in loads]
        wide = _ONCE_BEGUN if self._evening else 1.0
        self._evening = own.proxies - shares[0] >= _tolerated(shares[0]) * wide or any(
            share - each.proxies >= _tolerated(share) * wide for each, share in zip(loads, shares, strict=True)
        )
        share = math.ceil(shares[0])
        lacking = [share - each.proxies for each, share in zip(loads, shares, strict=True) if each.proxies < share]
        if not self._evening or own.proxies <= share or not lacking:
            return Surplus(share, lacking=sum(lacking))
        each = len(lacking) / len(loads)
        return Surplus(share, math.ceil((own.proxies - share) / each), sum(lacking), each)


def _tolerated(share: float) -> float:
    return max(MARGIN * share, _DEVIATIONS * math.sqrt(share))
