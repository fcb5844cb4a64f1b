"""Where a node is: the number that no other node of this machine has, and the addresses that derive from it."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

MOST_NODES = 16
_LOCKS = Path("/run/lock")


@dataclass(frozen=True, slots=True)
class Place:
    """The addresses and names of one node on this machine."""

    number: int

    @property
    def node(self) -> str:
        """The node's own address."""
        return f"10.200.{self.number}.2"

    @property
    def host(self) -> str:
        """The address of this machine, as pods see it."""
        return f"10.200.{self.number}.1"

    @property
    def pods(self) -> str:
        """The addresses of the pods."""
        return f"10.244.{self.number}.0/24"

    @property
    def services(self) -> str:
        """The cluster IPs."""
        return f"10.{96 + self.number}.0.0/16"

    @property
    def dns(self) -> str:
        """The cluster IP of the DNS server."""
        return f"10.{96 + self.number}.0.10"

    @property
    def link(self) -> str:
        """The interface on this machine that leads to the node."""
        return f"cpnode{self.number}"

    @property
    def control_group(self) -> str:
        """The control group of all pods."""
        return f"controlplane-node{self.number}"


def take_place() -> tuple[Place, TextIOWrapper]:
    """Return a free place and the open lock that holds it. Raises ``RuntimeError`` when there is none."""
    _LOCKS.mkdir(exist_ok=True)
    for number in range(MOST_NODES):
        lock = (_LOCKS / f"controlplane-node{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return Place(number), lock
    raise RuntimeError(f"{MOST_NODES} nodes run on this machine already")
