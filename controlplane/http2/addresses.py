"""What is known of the addresses that peers come from: how many connections they hold, and what they wasted."""

from __future__ import annotations

import ipaddress
from time import monotonic

from controlplane.limits import Limits, Reached

_BACK_PER_SECOND = 0.02  # of what was wasted
_TIRED = 0.9  # of what may be wasted
_MOST_REMEMBERED = 10_000
_IPV6_HOST_BITS = 64


def host(peername: object) -> str:
    """Return who a socket's address belongs to: an IPv4 address, or the network of an IPv6 one."""
    text = str(peername[0]) if isinstance(peername, tuple) and peername else ""
    if ":" not in text:
        return text
    address = ipaddress.IPv6Address(text.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS))


def written(peername: object) -> str:
    """Write a socket's address as people do."""
    if isinstance(peername, tuple) and len(peername) >= 2:  # noqa: PLR2004 - address and port, more for IPv6
        return f"[{peername[0]}]:{peername[1]}" if ":" in str(peername[0]) else f"{peername[0]}:{peername[1]}"
    return str(peername or "unknown")


class Address:
    """One of them. ``wasted`` is processor time in seconds, as it was ``at`` that time."""

    __slots__ = ("at", "connections", "name", "pending", "wasted")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.pending = 0
        self.wasted = 0.0
        self.at = monotonic()

    def waste(self, seconds: float) -> float:
        """Add work that was for nothing; return all of it that has not come back yet."""
        now = monotonic()
        self.wasted = max(0.0, self.wasted - (now - self.at) * _BACK_PER_SECOND) + seconds
        self.at = now
        return self.wasted


class Addresses:
    """All connections of a server, by address; says which may come, and who has wasted too much."""

    def __init__(self, limits: Limits, reached: Reached) -> None:
        self._limits = limits
        self._reached = reached
        self._known: dict[str, Address] = {}
        self.connections = 0
        self.pending = 0

    def enter(self, name: str) -> Address | None:
        """Enter a connection, which is pending; ``None`` if there are too many already."""
        limits = self._limits
        address = self._known.get(name) or Address(name)
        for limit, held in (
            ("max_connections", self.connections),
            ("max_connections_per_address", address.connections),
            ("max_pending_connections_per_address", address.pending),
            ("max_pending_connections", self.pending),
        ):
            if held >= getattr(limits, limit):
                self._reached(limit)
                return None
        self._known[name] = address
        address.connections += 1
        address.pending += 1
        self.connections += 1
        self.pending += 1
        if len(self._known) > _MOST_REMEMBERED:
            self._forget_idle()
        return address

    def accept(self, address: Address) -> None:
        """Note that a connection is not pending any more."""
        address.pending -= 1
        self.pending -= 1

    def leave(self, address: Address, *, pending: bool) -> None:
        """Note that a connection has ended."""
        address.connections -= 1
        self.connections -= 1
        if pending:
            self.accept(address)

    def exhausted(self, address: Address, seconds: float) -> bool:
        """Count work that an address gave us for nothing; return whether it is too much."""
        if address.waste(seconds) <= self._limits.wasted_work.total_seconds():
            return False
        self._reached("wasted_work")
        return True

    def tired(self, address: Address) -> bool:
        """Whether an address has used up most of what it may waste."""
        return address.waste(0) > self._limits.wasted_work.total_seconds() * _TIRED

    def _forget_idle(self) -> None:
        for name, address in tuple(self._known.items()):
            if not address.connections and not address.waste(0):
                del self._known[name]
        while len(self._known) > _MOST_REMEMBERED:  # they come from everywhere: what they wasted is forgiven
            idle = next((name for name, address in self._known.items() if not address.connections), None)
            if idle is None:
                return
            del self._known[idle]
