"""What the monitoring port may ask the rest of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controlplane.ads.sync_status import ProxyStatus
from controlplane.model.feeds import Feed
from controlplane.model.objects import ObjectKey, Rejected
from controlplane.model.service import Endpoint, Service
from controlplane.snapshots import ResourceType, Snapshot


@dataclass(frozen=True)
class AdminSources:
    """Functions that are called on the event loop, for each request; none may block.

    ``ready`` gives whether proxies are served, and otherwise the reason why not. ``snapshot`` takes a connection id and
    gives ``None`` where there is no such connection or nothing compiled yet. ``behind`` takes a connection id, a type
    and a resource name and gives the objects that the resource was made from, empty where it is unknown.
    ``identity`` names this instance (pod or host name), ``version`` the program, ``cluster_id`` the
    Kubernetes cluster. ``feeds`` are what a cluster is read through, none where files are read; ``away_since`` is when
    its API server was last heard of, in seconds since the epoch, ``None`` while it answers.
    """

    ready: Callable[[], tuple[bool, str]]
    connections: Callable[[], Iterable[ProxyStatus]]
    snapshot: Callable[[str], Snapshot | None]
    services: Callable[[], Iterable[Service]]
    endpoints: Callable[[], Iterable[tuple[Service, tuple[Endpoint, ...]]]]
    behind: Callable[[str, ResourceType, str], tuple[ObjectKey, ...]]
    rejected: Callable[[], Iterable[Rejected]]
    identity: str
    version: str = "unknown"
    cluster_id: str = "Kubernetes"
    feeds: Callable[[], Iterable[Feed]] = tuple
    away_since: Callable[[], float | None] = lambda: None
