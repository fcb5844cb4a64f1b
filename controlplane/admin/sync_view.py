"""``/debug/syncz``: what each proxy was sent and has acknowledged, in istiod's shape with keys of our own.

istiod's keys hold nonces. Ours add to each entry of ``resources``: ``status``, ``sentVersion``, ``ackedVersion``,
``sentRevision``, ``ackedRevision``, ``rejection`` and ``unbuilt`` (what could not be built, an error of the control
plane's own: names with reasons, ``unbuiltCount`` of them, ``*`` for names that are not known); and to each proxy:
``connection_id``, ``peer``, ``connected_at``, ``control_plane`` and, while the API server does not answer,
``api_server_away_since``.

Where one proxy is asked for, there are ``names`` too (absent for a wildcard), and all ``objects`` that a refused
resource was made from and all of ``unbuilt``; else the first few of them: ``objectCount`` says how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from controlplane.admin.feeds_view import away
from controlplane.admin.json_text import Items, Members, Value
from controlplane.admin.pace import PAUSE, Pause, in_order
from controlplane.admin.rejection import rejected_names
from controlplane.admin.sources import AdminSources
from controlplane.ads.sync_status import ProxyStatus, Rejection, TypeStatus
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.snapshots import Resource, ResourceType

_FLAT_NAMES = {
    ResourceType.CLUSTER: "cluster",
    ResourceType.LISTENER: "listener",
    ResourceType.ROUTE: "route",
    ResourceType.ENDPOINT: "endpoint",
    ResourceType.EXTENSION: "extensionconfig",
}

_SHOWN = 20
"""Objects of a refused resource, and names that could not be built: many proxies may share thousands."""


def sync_order(connected: tuple[str, Proxy]) -> tuple[str, ...]:
    """Return what proxies are sorted by: cluster, namespace and id."""
    connection_id, proxy = connected
    return (proxy.cluster_id, proxy.namespace, proxy.id, connection_id)


class SyncView:
    """Makes the elements of one answer; what proxies share is worked out once for it."""

    def __init__(self, sources: AdminSources, *, whole: bool = False) -> None:
        """Prepare; ``whole`` is for one proxy, and leaves nothing out."""
        self._sources = sources
        self._whole = whole
        self._behind: dict[int, tuple[Resource, tuple[ObjectKey, ...]]] = {}

    def elements(self, connection_ids: Iterable[str]) -> Iterator[Value | Pause]:
        """Yield one element for each of these connections that is still there, with pauses in between."""
        for connection_id in connection_ids:
            status = self._sources.status(connection_id)
            if status is None:
                continue
            refused: dict[ResourceType, dict[str, Any]] = {}
            for type_, entry in status.types.items():
                if entry.rejection is not None:
                    refused[type_] = {}
                    yield from self._refused(status, type_, entry, refused[type_])
            yield self._element(status, refused)

    def _refused(
        self, status: ProxyStatus, type_: ResourceType, entry: TypeStatus, shown: dict[str, Any]
    ) -> Iterator[Pause]:
        """Put into ``shown`` what a proxy said when it refused a type, and the objects behind each resource."""
        rejection: Rejection = entry.rejection  # type: ignore[assignment]  # the caller has looked
        snapshot = self._sources.snapshot(status.connection_id)
        known = snapshot.of(type_) if snapshot is not None else {}
        names = rejected_names(rejection.message, known, entry.names)
        yield PAUSE
        resources = []
        for name in names:
            keys: list[ObjectKey] = []
            yield from self._objects(status.connection_id, type_, name, known.get(name), keys)
            objects = []
            for key in keys if self._whole else keys[:_SHOWN]:  # thousands, where a listener is of all services
                objects.append(key.words())
                yield PAUSE
            resources.append(Members((("name", name), ("objects", Items(objects)), ("objectCount", len(keys)))))
        shown |= {
            "message": rejection.message,
            "version": rejection.version,
            "nonce": rejection.nonce,
            "at": timestamp(rejection.at),
            "resources": Items(resources),
        }

    def _objects(
        self, connection_id: str, type_: ResourceType, name: str, resource: Resource | None, found: list[ObjectKey]
    ) -> Iterator[Pause]:
        """Put into ``found``, sorted, what a resource was made from: looked up once for all who hold the same one."""
        remembered = self._behind.get(id(resource)) if resource is not None else None
        if remembered is not None:
            found += remembered[1]
            return
        keys: set[ObjectKey] = set()
        for key in self._sources.behind(connection_id, type_, name):
            if key is not None:
                keys.add(key)
            yield PAUSE
        for step in in_order(keys, tuple):
            if not isinstance(step, Pause):
                found.append(step)
            yield PAUSE
        if resource is not None:
            self._behind[id(resource)] = resource, tuple(found)

    def _element(self, status: ProxyStatus, refused: dict[ResourceType, dict[str, Any]]) -> Value:
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
                "resources": _object(
                    {
                        type_.value: self._entry(status.types[type_], refused.get(type_))
                        for type_ in ResourceType
                        if type_ in status.types
                    }
                ),
                "connection_id": status.connection_id,
                "namespace": proxy.namespace,
                "peer": status.peer,
                "connected_at": timestamp(status.connected_at),
                "control_plane": self._sources.identity,
                **away(self._sources),
            }
        )

    def _entry(self, entry: TypeStatus, refused: dict[str, Any] | None) -> Value:
        return _without_empty(
            {
                "sent": entry.sent_nonce,
                "acked": entry.acked_nonce,
                "sentTime": "" if entry.sent_at is None else timestamp(entry.sent_at),
                "lastError": "" if entry.rejection is None else entry.rejection.message,
                "status": entry.sync.value,
                "sentVersion": entry.sent_version,
                "ackedVersion": entry.acked_version,
                "sentRevision": entry.sent_revision,
                "ackedRevision": entry.acked_revision,
                "names": Items(sorted(entry.names)) if self._whole and entry.names is not None else None,
                "rejection": None if refused is None else _object(refused),
                "unbuilt": self._unbuilt(entry.failed) if entry.failed else None,
                "unbuiltCount": len(entry.failed) or None,
            }
        )

    def _unbuilt(self, failed: Mapping[str, str]) -> Items:
        names = sorted(failed)
        shown = names if self._whole else names[:_SHOWN]
        return Items([{"name": name, "reason": failed[name]} for name in shown])


def timestamp(at: datetime) -> str:
    """Write a time as RFC 3339."""
    return at.isoformat().replace("+00:00", "Z")


def _without_empty(values: dict[str, Any]) -> Value:
    return _object({name: value for name, value in values.items() if value not in ("", None)})


def _object(values: dict[str, Any]) -> Value:
    """Return a JSON object that is written at once where all of it is small."""
    large = any(isinstance(value, Items | Members) for value in values.values())
    return Members(values.items()) if large else values
