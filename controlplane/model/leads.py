"""Who of several replicas does what only one of them may do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lead:
    """Some work that one replica does for all of them.

    ``here``: this one does it. ``holder`` is the name of the replica that does, as its Lease says; empty while it is
    not known.
    """

    work: str
    here: bool
    holder: str
