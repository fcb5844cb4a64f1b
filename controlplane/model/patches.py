"""Which patches of EnvoyFilters a proxy gets: references, without what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.model.objects import ObjectKey


class PatchRef(NamedTuple):
    """One patch: the EnvoyFilter and the position in its ``configPatches``."""

    filter: ObjectKey
    position: int

    @property
    def path(self) -> str:
        """Where the patch stands in its object."""
        return f"spec.configPatches[{self.position}]"


PatchRefs = tuple[PatchRef, ...]


@dataclass(frozen=True, slots=True)
class PatchNote:
    """A patch that is for some proxy; with ``changes`` one that changes something there."""

    ref: PatchRef
    changes: bool


@dataclass(frozen=True, slots=True)
class ProxyPatches:
    """The patches for one proxy, by what they may change, each group in the order in which they take effect.

    A gateway has no inbound ones. ``extensions`` are filters' settings that are fetched by themselves.
    """

    clusters: PatchRefs = ()
    listeners: PatchRefs = ()
    routes: PatchRefs = ()
    inbound_clusters: PatchRefs = ()
    inbound_listeners: PatchRefs = ()
    inbound_routes: PatchRefs = ()
    extensions: PatchRefs = ()


NO_PATCHES = ProxyPatches()
