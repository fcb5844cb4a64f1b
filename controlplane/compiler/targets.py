"""What is built: targets, and the parts of inventories that they come in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from controlplane.engine.recording import Query
from controlplane.snapshots import ResourceType


class Target(NamedTuple):
    """One thing to build: an isolated query that returns a ``Resource`` (``None``: nothing to serve), and its key."""

    query: Query[Any, Any]
    key: Hashable


Targets = Mapping[str, Target]
_MOST_NAMED = 3


class Inventory(NamedTuple):
    """The targets of a part, by name. Their order follows from their names and keys: in another they are equal as well.

    ``lacking`` says which objects could never be read, and why: there may be more targets; empty where there are none.
    ``partial``: what these targets build to may lack something of such objects too.
    """

    targets: Targets
    lacking: str = ""
    partial: bool = False

    @classmethod
    def of(cls, targets: Targets, unnamed: Sequence[str], within: Sequence[str] = ()) -> Inventory:
        """Make one; ``unnamed`` says why targets are not known, ``within`` why contents are not."""
        unread = list(dict.fromkeys((*unnamed, *within)))
        more = f"; and {len(unread) - _MOST_NAMED} more" if len(unread) > _MOST_NAMED else ""
        return cls(targets, "; ".join(unread[:_MOST_NAMED]) + more, partial=bool(within))


class Part(NamedTuple):
    """An inventory of one type that classes with the same key share."""

    type: ResourceType
    query: Query[Any, Inventory]
    key: Hashable
