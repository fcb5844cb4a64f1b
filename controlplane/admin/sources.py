"""What the monitoring port may ask the rest of the program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.admin.timeline import Timeline
from controlplane.ads.shares import Load
from controlplane.ads.sync_status import ProxyStatus
from controlplane.limits import Limits, Reached, unheard
from controlplane.model.certificates import Certificate
from controlplane.model.feeds import Feed
from controlplane.model.leads import Lead
from controlplane.model.objects import Object, ObjectKey, Rejected
from controlplane.model.problems import Problem
from controlplane.model.proxy import Proxy
from controlplane.model.service import Endpoint, Service
from controlplane.model.tasks import TaskState
from controlplane.snapshots import ResourceType, Snapshot

Read = Callable[[], Awaitable[bytes]]
"""Reads a question."""
Take = Callable[[bytes], Awaitable[None]]
"""Takes a piece of an answer, and returns when there is room for the next."""


@dataclass(frozen=True)
class AdminSources:
    """Functions that are called on the event loop, for each request; none may block.

    What there may be much of is asked for one by one, or yielded as it is read, so that nobody waits for an answer
    about all: a step of these iterators takes microseconds. They stay valid while things change.

    ``ready`` gives whether proxies are served, and otherwise the reason why not. ``proxies`` are those connected, by
    connection id, in the order in which they connected; a copy. ``status`` and ``snapshot`` take a connection id and
    give ``None`` where there is no such connection any more or, ``snapshot``, nothing compiled yet. ``services``
    yields every service once, ``endpoints`` gives those of one. ``behind`` takes a connection id, a type and a
    resource name and yields the objects that the resource was made from, in any order and perhaps several times, none
    where it is unknown. ``identity`` names this instance (pod or host name), ``version`` the program, ``cluster_id``
    the Kubernetes cluster. ``feeds`` are what a cluster is read through, none where files are read; ``away_since`` is
    when its API server was last heard of, in seconds since the epoch, ``None`` while it answers.
    ``objects`` yields Istio's objects that are in force, ``object`` gives one by its key, also of another kind.
    ``problems`` yields what is wrong with objects, one by one, where ``rejected`` has them by object; ``certificates``
    those that are watched over; ``timeline`` remembers what happened lately. ``revision`` is the registry's,
    ``settled`` the one up to which there is a snapshot for every connected proxy.
    ``load`` is what other replicas are told of this one.
    ``explain`` answers a question of ``simulate.questions``, and raises what that raises. ``plan`` answers one of
    ``plan.question``, JSON to JSON, and raises ``WrongQuestionError`` likewise, and ``UnansweredError``; it reads the
    question with its first argument once there is a place for it, and gives the answer in pieces to its second.
    ``limits`` are what callers may take, ``reached`` is told which one a caller ran into.
    ``log_levels`` are the least severe events that are logged, by scope; ``set_log_level`` takes a scope and a level,
    and raises ``ValueError`` with a sentence for who asked.
    ``tasks`` are those that are begun again when they fail; ``troubles`` are sentences on what else does not work.
    ``leads`` says of what one replica does for all whether this one does it.
    """

    ready: Callable[[], tuple[bool, str]]
    proxies: Callable[[], Mapping[str, Proxy]]
    status: Callable[[str], ProxyStatus | None]
    snapshot: Callable[[str], Snapshot | None]
    services: Callable[[], Iterable[Service]]
    endpoints: Callable[[Service], tuple[Endpoint, ...]]
    behind: Callable[[str, ResourceType, str], Iterable[ObjectKey | None]]
    explain: Callable[[Sequence[tuple[str, str]]], Awaitable[dict[str, Any]]]
    plan: Callable[[Read, Take], Awaitable[None]]
    rejected: Callable[[], Iterable[Rejected]]
    identity: str
    version: str = "unknown"
    cluster_id: str = "Kubernetes"
    feeds: Callable[[], Iterable[Feed]] = tuple
    away_since: Callable[[], float | None] = lambda: None
    tasks: Callable[[], Iterable[TaskState]] = tuple
    troubles: Callable[[], Iterable[str]] = tuple
    leads: Callable[[], Iterable[Lead]] = tuple
    objects: Callable[[], Iterable[Object]] = tuple
    load: Callable[[], Load] = lambda: Load(0)
    limits: Limits = field(default_factory=Limits)
    reached: Reached = unheard
    log_levels: Callable[[], Mapping[str, str]] = dict
    set_log_level: Callable[[str, str], None] = lambda _scope, _level: None
    object: Callable[[ObjectKey], Object | None] = lambda _: None
    problems: Callable[[], Iterable[Problem]] = tuple
    certificates: Callable[[], Iterable[Certificate]] = tuple
    timeline: Timeline = field(default_factory=Timeline)
    revision: Callable[[], int] = lambda: 0
    settled: Callable[[], int] = lambda: 0


def find_connection(proxies: Mapping[str, Proxy], proxy_id: str) -> str | None:
    """Return the id of the connection that is meant: by its id, else by its proxy's id, else by a part of its id.

    Of several, the one that connected last: a proxy that reconnects may still have its old stream.
    """
    if proxy_id in proxies:
        return proxy_id
    exact = [connection_id for connection_id, proxy in proxies.items() if proxy.id == proxy_id]
    found = exact or [connection_id for connection_id in proxies if proxy_id in connection_id]
    return found[-1] if found else None
