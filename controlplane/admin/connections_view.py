"""``/debug/adsz`` and ``/debug/connections``: who is connected, in istiod's shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from controlplane.admin.pace import PAUSE, Pause
from controlplane.admin.sources import AdminSources
from controlplane.admin.sync_view import timestamp
from controlplane.ads.sync_status import ProxyStatus


def connections_view(sources: AdminSources, connection_ids: Iterable[str]) -> Iterator[dict[str, Any] | Pause]:
    """Yield the id of each of these connections that is still there, since when it is and from where."""
    for connection_id in connection_ids:
        if (status := sources.status(connection_id)) is not None:
            yield _connection(status)


def watches_view(sources: AdminSources, connection_ids: Iterable[str]) -> Iterator[dict[str, Any] | Pause]:
    """Yield the same with what each proxy says of itself and the names it subscribes to: none for a wildcard."""
    named: dict[frozenset[str], list[str]] = {}  # proxies of a class share their names
    for connection_id in connection_ids:
        status = sources.status(connection_id)
        if status is None:
            continue
        for entry in status.types.values():
            if entry.names is not None and entry.names not in named:
                named[entry.names] = sorted(entry.names)
                yield PAUSE
        yield _connection(status) | _node(status, named)


def _connection(status: ProxyStatus) -> dict[str, Any]:
    return {
        "connectionId": status.connection_id,
        "connectedAt": timestamp(status.connected_at),
        "address": status.peer,
    }


def _node(status: ProxyStatus, named: dict[frozenset[str], list[str]]) -> dict[str, Any]:
    proxy = status.proxy
    region, zone, subzone = proxy.locality
    return {
        "labels": dict(proxy.labels),
        "metadata": dict(proxy.metadata),
        "locality": {"region": region, "zone": zone, "sub_zone": subzone},
        "watches": {
            type_.value: named[entry.names] if entry.names is not None else [] for type_, entry in status.types.items()
        },
    }
