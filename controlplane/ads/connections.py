"""The streams that are open now, by connection id."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType

from controlplane.ads.stream import Stream
from controlplane.ads.sync_status import ProxyStatus
from controlplane.model.proxy import Proxy
from controlplane.snapshots import Snapshot


class Connections:
    """All proxies that are connected. An id is ``<proxy id>-<n>``, where ``n`` counts streams since the start."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._leaving: set[str] = set()
        self._numbers = itertools.count(1)
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever a proxy has come or gone."""

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def streams(self) -> Mapping[str, Stream]:
        """The streams by connection id; a live view."""
        return MappingProxyType(self._streams)

    def add(self, stream: Stream) -> str:
        """Enter an opened stream; return its connection id."""
        connection_id = f"{stream.proxy.id}-{next(self._numbers)}"
        self._streams[connection_id] = stream
        self.on_change()
        return connection_id

    def remove(self, connection_id: str) -> None:
        """Take out a stream that has ended."""
        self._leaving.discard(connection_id)
        if self._streams.pop(connection_id, None) is not None:
            self.on_change()

    @property
    def staying(self) -> int:
        """How many streams are open, without those that were sent away and have not ended yet."""
        return len(self._streams) - len(self._leaving)

    def send_away(self) -> None:
        """End the stream that has been open the longest, and have its proxy connect anew; nothing if there is none."""
        for connection_id, stream in self._streams.items():
            if connection_id not in self._leaving:
                self._leaving.add(connection_id)
                stream.send_away()
                return

    def proxies(self) -> dict[str, Proxy]:
        """Return every connected proxy by its connection id, in the order of their connecting."""
        return {connection_id: stream.proxy for connection_id, stream in self._streams.items()}

    def status(self, connection_id: str) -> ProxyStatus | None:
        """Return the status of a connected proxy, ``None`` without such a connection."""
        stream = self._streams.get(connection_id)
        return None if stream is None else stream.status(connection_id)

    def snapshot(self, connection_id: str) -> Snapshot | None:
        """Return the newest snapshot of a connected proxy's class, ``None`` without such a connection."""
        stream = self._streams.get(connection_id)
        return None if stream is None else stream.snapshot
