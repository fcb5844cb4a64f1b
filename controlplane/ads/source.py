"""Where the server gets snapshots from: the only thing it knows of the compiler."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from controlplane.model.proxy import Proxy
from controlplane.snapshots import Resource, ResourceType, Snapshot


class Session(Protocol):
    """One connected proxy's hold on the snapshots of its class.

    ``snapshot`` is the latest one of the proxy's class; it is replaced before ``changed`` (see
    :meth:`SnapshotSource.open`) is called, and never changed in place.
    """

    snapshot: Snapshot

    @property
    def proxy_class(self) -> Hashable:
        """The same for all proxies that are served the same; it may become another one with a change."""
        ...

    def missing(self, type_: ResourceType, name: str) -> Resource | None:
        """Return what a proxy is told that asks for a name which the snapshot lacks; ``None``: it does not exist.

        Envoy waits for an answer: an unknown load assignment or route configuration is an empty one. The same name
        must always give an equal resource. Sessions that answer alike had better share the function: streams are
        served together by it.
        """
        ...

    def close(self) -> None:
        """Let go; called once, when the proxy's stream has ended."""
        ...


class SnapshotSource(Protocol):
    """What the server asks for a session per proxy."""

    async def open(self, proxy: Proxy, changed: Callable[[], None]) -> Session:
        """Return the proxy's session once its first snapshot exists.

        ``changed`` is called on the event loop after each new snapshot; it returns at once.

        Raises:
            StreamRefused: this proxy is not served; the stream ends with the reason.
        """
        ...
