"""``/debug/syncz``: what each proxy was sent and has acknowledged, in istiod's shape with keys of our own.

istiod's keys hold nonces. Ours add to each entry of ``resources``: ``status``, ``sentVersion``, ``ackedVersion``,
``sentRevision``, ``ackedRevision``, ``names`` (absent for a wildcard) and ``rejection``; and to each proxy:
``connection_id``, ``peer``, ``connected_at``, ``control_plane`` and, while the API server does not answer,
``api_server_away_since``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from controlplane.admin.feeds_view import away
from controlplane.admin.rejection import rejected_names
from controlplane.admin.sources import AdminSources
from controlplane.ads.sync_status import ProxyStatus, Rejection, TypeStatus
from controlplane.snapshots import ResourceType

_FLAT_NAMES = {
    ResourceType.CLUSTER: "cluster",
    ResourceType.LISTENER: "listener",
    ResourceType.ROUTE: "route",
    ResourceType.ENDPOINT: "endpoint",
    ResourceType.EXTENSION: "extensionconfig",
}


def sync_view(sources: AdminSources, namespace: str = "") -> list[dict[str, Any]]:
    """Return one element for each connection, sorted by cluster, namespace and id; no namespace means all."""
    shown = [status for status in sources.connections() if namespace in {"", status.proxy.namespace}]
    shown.sort(key=lambda s: (s.proxy.cluster_id, s.proxy.namespace, s.proxy.id, s.connection_id))
    return [_proxy(sources, status) for status in shown]


def _proxy(sources: AdminSources, status: ProxyStatus) -> dict[str, Any]:
    flat: dict[str, str] = {}
    for type_, name in _FLAT_NAMES.items():
        if (entry := status.types.get(type_)) is not None:
            flat |= {f"{name}_sent": entry.sent_nonce, f"{name}_acked": entry.acked_nonce}
    proxy = status.proxy
    return _without_empty(
        {
            "cluster_id": proxy.cluster_id,
            "proxy": proxy.id,
            "proxy_type": proxy.type,
            "istio_version": proxy.istio_version,
            **flat,
            "resources": {
                type_.value: _entry(sources, status, type_) for type_ in ResourceType if type_ in status.types
            },
            "connection_id": status.connection_id,
            "namespace": proxy.namespace,
            "peer": status.peer,
            "connected_at": timestamp(status.connected_at),
            "control_plane": sources.identity,
            **away(sources),
        }
    )


def _entry(sources: AdminSources, status: ProxyStatus, type_: ResourceType) -> dict[str, Any]:
    entry = status.types[type_]
    rejection = entry.rejection
    return _without_empty(
        {
            "sent": entry.sent_nonce,
            "acked": entry.acked_nonce,
            "sentTime": "" if entry.sent_at is None else timestamp(entry.sent_at),
            "lastError": "" if rejection is None else rejection.message,
            "status": entry.sync.value,
            "sentVersion": entry.sent_version,
            "ackedVersion": entry.acked_version,
            "sentRevision": entry.sent_revision,
            "ackedRevision": entry.acked_revision,
            "names": None if entry.names is None else sorted(entry.names),
            "rejection": None if rejection is None else _rejection(sources, status, type_, entry, rejection),
        }
    )


def _rejection(
    sources: AdminSources, status: ProxyStatus, type_: ResourceType, entry: TypeStatus, rejection: Rejection
) -> dict[str, Any]:
    snapshot = sources.snapshot(status.connection_id)
    known = () if snapshot is None else snapshot.of(type_)
    names = rejected_names(rejection.message, known, entry.names)
    return {
        "message": rejection.message,
        "version": rejection.version,
        "nonce": rejection.nonce,
        "at": timestamp(rejection.at),
        "resources": [
            {
                "name": name,
                "objects": [key._asdict() for key in sorted(sources.behind(status.connection_id, type_, name))],
            }
            for name in names
        ],
    }


def timestamp(at: datetime) -> str:
    """Write a time as RFC 3339."""
    return at.isoformat().replace("+00:00", "Z")


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in ("", None) and value != {}}
