"""``/debug/adsz`` and ``/debug/connections``: who is connected, in istiod's shape."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.admin.sync_view import timestamp
from controlplane.ads.sync_status import ProxyStatus


def connections_view(statuses: Iterable[ProxyStatus]) -> dict[str, Any]:
    """Return the number of connections, and for each its id, since when and from where; sorted by id."""
    return _counted([_connection(status) for status in _sorted(statuses)])


def watches_view(statuses: Iterable[ProxyStatus]) -> dict[str, Any]:
    """Return the same with what each proxy says of itself and the names it subscribes to: none for a wildcard."""
    return _counted([_connection(status) | _node(status) for status in _sorted(statuses)])


def _counted(clients: list[dict[str, Any]]) -> dict[str, Any]:
    return {"totalClients": len(clients), "clients": clients}


def _sorted(statuses: Iterable[ProxyStatus]) -> list[ProxyStatus]:
    return sorted(statuses, key=lambda status: status.connection_id)


def _connection(status: ProxyStatus) -> dict[str, Any]:
    return {
        "connectionId": status.connection_id,
        "connectedAt": timestamp(status.connected_at),
        "address": status.peer,
    }


def _node(status: ProxyStatus) -> dict[str, Any]:
    proxy = status.proxy
    region, zone, subzone = proxy.locality
    return {
        "labels": dict(proxy.labels),
        "metadata": dict(proxy.metadata),
        "locality": {"region": region, "zone": zone, "sub_zone": subzone},
        "watches": {type_.value: sorted(entry.names or ()) for type_, entry in status.types.items()},
    }
