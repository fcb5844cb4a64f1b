"""Which connections end when a listener is another: those that Envoy drains.

Where the filter chains alone differ, Envoy keeps the listener and drains the connections of the chains that are gone
or others; else all of it. Reference: Envoy, ``ListenerMessageUtil::filterChainOnlyChange`` and "Filter chain only
update" of the listener discovery service. Connections that are drained are closed within the drain time.
"""

from __future__ import annotations

from typing import NamedTuple

from envoy.config.listener.v3.listener_pb2 import Listener

_CHAINS = ("filter_chains", "default_filter_chain", "filter_chain_matcher")


class Drains(NamedTuple):
    """How many listeners are drained, and how many filter chains of others."""

    listeners: int = 0
    filter_chains: int = 0

    def plus(self, other: Drains) -> Drains:
        """Return the sum."""
        return Drains(self.listeners + other.listeners, self.filter_chains + other.filter_chains)


def drains(before: bytes, after: bytes | None) -> Drains:
    """Return what is drained when a serialised listener is replaced; with ``None`` it is removed."""
    if after is None:
        return Drains(listeners=1)
    old, new = Listener.FromString(before), Listener.FromString(after)
    held = [_chains(listener) for listener in (old, new)]
    for listener in (old, new):
        for field in _CHAINS:
            listener.ClearField(field)
    if old != new:
        return Drains(listeners=1)
    return Drains(filter_chains=len(held[0] - held[1]))


def _chains(listener: Listener) -> set[bytes]:
    found = {chain.SerializeToString(deterministic=True) for chain in listener.filter_chains}
    if listener.HasField("default_filter_chain"):
        found.add(b"default" + listener.default_filter_chain.SerializeToString(deterministic=True))
    return found
