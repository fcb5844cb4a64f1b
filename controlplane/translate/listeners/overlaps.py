"""VirtualServices by the hosts that they overlap, to be asked about many hosts."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

from controlplane.registry.virtual_services import ResolvedVirtualService


class Overlaps:
    """VirtualServices, found by one of their hosts: ``*``, ``*.suffix`` or exact, as ``covers`` takes them."""

    def __init__(self, virtual_services: Sequence[ResolvedVirtualService]) -> None:
        """Take their hosts apart by what they end in."""
        self._all = virtual_services
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        for place, held in enumerate(virtual_services):
            for host in held.hosts:
                self._places[host].append(place)
        self._lengths = sorted({len(host) - 1 for host in self._places if host.startswith("*")})
        self._backwards: list[str] | None = None  # made when it is asked for

    def of(self, host: str) -> list[ResolvedVirtualService]:
        """Return those of which a host overlaps this one, in either direction, in their order."""
        return [self._all[place] for place in sorted(self.places(host))]

    def places(self, host: str) -> set[int]:
        """Return where they are in the order."""
        size = len(host)
        found = set(self._places.get(host, ()))
        for length in self._lengths:
            if length < size or not length:
                found.update(self._places.get(f"*{host[size - length :]}", ()))
        if host.startswith("*"):
            found.update(self._within(host))
        return found

    def _within(self, pattern: str) -> set[int]:
        """Return the places of hosts that lie within a pattern."""
        if self._backwards is None:
            self._backwards = sorted(each[::-1] for each in self._places)
        end, found = pattern[:0:-1], set[int]()
        for each in islice(self._backwards, bisect_left(self._backwards, end), None):
            if not each.startswith(end):
                break
            if len(each) > len(end) or not end:
                found.update(self._places[each[::-1]])
        return found
