"""What is patched: a resource as its translator built it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from controlplane.engine.recording import Query
from controlplane.registry.store import View
from controlplane.snapshots import Resource


class Built(NamedTuple):
    """A query that builds a resource, and its key."""

    query: Query[Any, Any]
    key: Hashable


def built(view: View, target: Built) -> Resource | None:
    """Return the resource, the last good one where it cannot be built now; ``None`` where there is nothing to serve.

    Raises:
        RuntimeError: it could never be built.
    """
    found = target.query.outcome(view, target.key)
    if not found.built:
        message = f"what is patched could not be built: {found.failure}"
        raise RuntimeError(message)
    resource: Resource | None = found.value
    return resource
