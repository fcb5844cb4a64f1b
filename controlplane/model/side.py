"""The sides of a proxy that traffic passes."""

from __future__ import annotations

from enum import Enum


class Side(Enum):
    """Which way the traffic of a listener goes."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    GATEWAY = "gateway"

    __hash__ = object.__hash__
