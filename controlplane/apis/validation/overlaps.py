"""Which of many texts overlap, in the time that sorting them takes.

Names are compared from their end, so that a wildcard is a beginning of what it covers; places (``region/zone``) from
their beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_HOST = 255


class _Entry(NamedTuple):
    """``text`` covers all that begins with it where ``covers``, and else itself."""

    text: str
    position: int
    covers: bool


def overlapping_hosts(hosts: Sequence[str]) -> dict[int, int]:
    """Return the positions of hosts that some name matches which an earlier host matches, each with that one's."""
    entries = []
    for position, host in enumerate(hosts):
        wide = host.startswith("*")
        if len(host) <= MAX_HOST:
            entries.append(_Entry(host.removeprefix("*")[::-1], position, wide))
    return _overlaps(entries)


def overlapping_localities(localities: Iterable[str]) -> dict[int, int]:
    """Return the positions of localities that have a place in common with an earlier one, each with that one's."""
    entries = []
    for position, locality in enumerate(localities):
        wide = locality == "*" or locality.endswith("/*")
        place = locality.removesuffix("*").removesuffix("/") if wide else locality
        entries.append(_Entry(f"{place}/" if place else "", position, covers=True))
    return _overlaps(entries)


def _overlaps(entries: list[_Entry]) -> dict[int, int]:
    found: dict[int, int] = {}
    around: list[_Entry] = []  # those that cover what comes next, the widest first
    exact: _Entry | None = None
    for entry in sorted(entries, key=lambda each: (each.text, not each.covers, each.position)):
        while around and not entry.text.startswith(around[-1].text):
            around.pop()
        for wide in around:
            if entry.covers or entry.text != wide.text:  # *foo.com takes no foo.com
                _note(found, wide.position, entry.position)
        if entry.covers:
            if not around or around[-1].text != entry.text:  # of equal ones the first stands for all
                around.append(entry)
        elif exact is not None and exact.text == entry.text:
            _note(found, exact.position, entry.position)
        else:
            exact = entry
    return found


def _note(found: dict[int, int], one: int, other: int) -> None:
    earlier, later = min(one, other), max(one, other)
    found[later] = min(found.get(later, earlier), earlier)


class CoveringHosts:
    """Host names and wildcards, asked for which names they match."""

    def __init__(self, hosts: Iterable[str]) -> None:
        known = [host for host in hosts if len(host) <= MAX_HOST]
        self._exact = frozenset(host for host in known if not host.startswith("*"))
        self._ends = frozenset(host[1:] for host in known if host.startswith("*"))
        self._lengths = sorted({len(end) for end in self._ends})

    def cover(self, narrow: str) -> bool:
        """Whether every name that ``narrow`` matches is matched by one of them."""
        bare = narrow.removeprefix("*")
        return narrow in self._exact or any(
            bare[len(bare) - length :] in self._ends for length in self._lengths if length <= len(bare)
        )
