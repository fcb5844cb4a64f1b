"""What the resources of a snapshot lead to and what it does not have: requests for it fail."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.snapshots import Resource, ResourceType, Snapshot

_LEADING = (ResourceType.ROUTE, ResourceType.LISTENER)


class Dangling(NamedTuple):
    """A cluster that is not there, and the resource that leads to it."""

    cluster: str
    type: ResourceType
    user: str


def dangling(snapshot: Snapshot, known: dict[Resource, frozenset[str]]) -> frozenset[Dangling]:
    """Return the clusters that routes and listeners lead to, and that are not there.

    A proxy answers what is sent there with 503 and the flag NC. ``known`` is filled with what was looked up: snapshots
    share most resources.
    """
    clusters = snapshot.of(ResourceType.CLUSTER)
    found: set[Dangling] = set()
    for type_ in _LEADING:
        for resource in snapshot.of(type_).values():
            named = known.get(resource)
            if named is None:
                named = known[resource] = resource.named(ResourceType.CLUSTER)
            found.update(Dangling(name, type_, resource.name) for name in named if name not in clusters)
    return frozenset(found)
