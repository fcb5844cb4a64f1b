"""The order of filters: each belongs to a phase, and phases follow each other as Istio has it.

HTTP and network filters share the phases; each kind of chain has filters of some of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TypeVar

F = TypeVar("F")


class Phase(IntEnum):
    """When a filter sees a request or a connection. Source: the order of filters in Istio's listeners."""

    PEER = 1
    """Who the other proxy is."""
    EXTERNAL_AUTHORIZATION = 2
    """What a policy with the action CUSTOM asks."""
    BEFORE_AUTHENTICATION = 3
    """Extensions of the phase AUTHN."""
    AUTHENTICATION = 4
    """Tokens of requests."""
    BEFORE_AUTHORIZATION = 5
    """Extensions of the phase AUTHZ."""
    AUTHORIZATION = 6
    """The policies that audit, deny and allow."""
    AFTER_AUTHORIZATION = 7
    """Extensions of the phase STATS, then those without a phase."""
    GRPC = 8
    TRAFFIC = 9
    """Faults and CORS, which routes configure."""
    STATS = 10
    PROTOCOL = 11
    """A protocol's own network filter."""
    RESOLUTION = 12
    TERMINAL = 13
    """What ends the chain: the router, the TCP proxy."""


Placed = tuple[Phase, F]
"""A filter with its phase."""


def in_order(filters: Iterable[Placed[F]]) -> list[F]:
    """Return the filters by phase; those of one phase keep their order."""
    return [each for _, each in sorted(filters, key=lambda placed: placed[0])]
