"""Markers: changes that touch nothing else, so that a test knows that what came before has had its effect."""

from __future__ import annotations

from itertools import count

from tests.feature.client import CDS, Client, Held
from tests.feature.objects import cluster, marker
from tests.feature.server import Server

MARKERS = count()


async def barrier(server: Server, client: Client) -> None:
    """Wait for a change made now: what was changed before it has had its effect by then."""
    number = next(MARKERS)
    server.write(f"marker-{number}.yaml", marker(number))
    await client.until(lambda: client.has(CDS, cluster(f"marker-{number}.test", port=7000)) and client.complete)


def without_markers(held: Held) -> Held:
    """Return what is held without that of markers."""
    return {
        url: {name: body for name, body in resources.items() if "marker-" not in name and not name.startswith("240.1.")}
        for url, resources in held.items()
    }
