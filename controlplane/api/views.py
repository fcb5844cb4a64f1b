"""Answers as values: each is made of what the program is asked for now, in steps that hold the event loop briefly.

Whoever shows them, as JSON or as a page, awaits one of these. What is not there is ``None``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from controlplane import ISTIO_VERSION
from controlplane.admin.pace import PAUSE, Pace, Pause, in_order
from controlplane.admin.paging import Order, Page
from controlplane.admin.registry_view import service_order
from controlplane.admin.sources import AdminSources, find_connection
from controlplane.api import models, queries
from controlplane.api.events import event_row
from controlplane.api.health import health
from controlplane.api.objects import (
    ObjectRows,
    object_detail,
    object_order,
    problem_order,
    problem_row,
    problems_found,
)
from controlplane.api.proxies import (
    TYPES,
    differing,
    objects_behind,
    proxies_found,
    proxy_detail,
    proxy_order,
    proxy_row,
    resource_rows,
    worst,
)
from controlplane.api.services import service_detail, service_row, services_found
from controlplane.api.topology import Picture
from controlplane.apis.kinds import KINDS
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import ObjectKey
from controlplane.snapshots import Resource

_TYPE_ORDER = {name: f"{place:02}" for place, name in enumerate(TYPES)}
T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A page of a list: its items, the ``after`` of the next page if there is one, and how many there are in all."""

    items: list[T]
    after: Order
    total: int


class Views:
    """Makes the answers of one monitoring port."""

    def __init__(self, sources: AdminSources, pace: Pace) -> None:
        self._sources = sources
        self._pace = pace

    async def overview(self) -> models.Overview:
        """Return the whole in short."""
        return await self._last(self._overview())

    def _overview(self) -> Iterator[models.Overview | Pause]:
        sources = self._sources
        states: Counter[str] = Counter()
        for connection_id in sources.proxies():
            yield PAUSE
            status = sources.status(connection_id)
            if status is not None:
                states[worst(status.types.values())] += 1
        services = objects = 0
        for _ in sources.services():
            yield PAUSE
            services += 1
        for _ in sources.objects():
            yield PAUSE
            objects += 1
        problems: Counter[str] = Counter()
        for found in sources.problems():
            yield PAUSE
            problems[str(found.level)] += 1
        ready, reason = sources.ready()
        yield models.Overview(
            identity=sources.identity,
            version=sources.version,
            istio_version=ISTIO_VERSION,
            cluster_id=sources.cluster_id,
            revision=sources.revision(),
            settled_revision=sources.settled(),
            ready=ready,
            reason=reason,
            proxies={state.value: states[state] for state in models.State if states[state]},
            services=services,
            objects=objects,
            problems=dict(problems),
            next_expiry=next(iter(self.certificates()), None),
            last_event=sources.timeline.last,
        )

    async def proxies(self, asked: queries.ProxiesQuery) -> Part[models.Proxy]:
        """Return connected proxies, those that are not in order first."""
        found, sources = proxies_found(self._sources, asked), self._sources
        return await self._part(found, proxy_order, asked.page, lambda each: proxy_row(sources, each))

    async def proxy(self, asked: queries.ProxyQuery) -> models.ProxyDetail | None:
        """Return one connected proxy."""
        connection_id = find_connection(self._sources.proxies(), asked.id)
        status = self._sources.status(connection_id) if connection_id is not None else None
        return await self._last(proxy_detail(self._sources, status)) if status is not None else None

    async def resources(self, asked: queries.ResourcesQuery) -> Part[models.ResourceName] | None:
        """Return what a proxy should hold of a type, by name."""
        connection_id = find_connection(self._sources.proxies(), asked.id)
        snapshot = self._sources.snapshot(connection_id) if connection_id is not None else None
        if snapshot is None:
            return None
        rows = resource_rows(snapshot.of(TYPES[asked.type]).values(), asked.name)
        return await self._part(rows, lambda row: (row.name,), asked.page, _same)

    async def comparison(self, asked: queries.ComparisonQuery) -> Part[models.ComparedResource] | None:
        """Return what two proxies should not hold alike, by type and name; ``None`` where one is not connected."""
        connected = self._sources.proxies()
        found = [find_connection(connected, each) for each in (asked.one, asked.other)]
        one, other = (self._sources.snapshot(each) if each is not None else None for each in found)
        if one is None or other is None:
            return None
        rows = differing(one, other, asked.type)
        return await self._part(rows, lambda row: (_TYPE_ORDER[row.type], row.name), asked.page, _same)

    async def resource(self, asked: queries.ResourceQuery) -> tuple[Resource, list[models.ObjectName], int] | None:
        """Return one resource, the first of the objects that it was made from, and how many these are."""
        connection_id = find_connection(self._sources.proxies(), asked.id)
        snapshot = self._sources.snapshot(connection_id) if connection_id is not None else None
        found = snapshot.of(TYPES[asked.type]).get(asked.name) if snapshot is not None else None
        if found is None or connection_id is None:
            return None
        objects: list[models.ObjectName] = []
        counted: list[int] = []

        def steps() -> Iterator[Pause]:
            counted.append((yield from objects_behind(self._sources, connection_id, found.type, found.name, objects)))

        await self._pace.gathered(steps())
        return found, objects, counted[0]

    async def objects(self, asked: queries.ObjectsQuery) -> Part[models.ObjectRow]:
        """Return objects of Istio's API, those with problems first."""
        return await self._part(ObjectRows(self._sources, asked).rows(), object_order, asked.page, _same)

    async def object(self, asked: queries.ObjectQuery) -> models.ObjectDetail | None:
        """Return one object."""
        kind = KINDS.get(asked.kind)
        keys = [] if kind is None else [ObjectKey(GroupKind(kind.name, kind.group), asked.namespace, asked.name)]
        return await self._found(object_detail(self._sources, asked.kind, asked.namespace, asked.name, keys))

    async def findings(self, asked: queries.FindingsQuery) -> Part[models.Problem]:
        """Return problems of objects, the worst first."""
        return await self._part(problems_found(self._sources, asked), problem_order, asked.page, problem_row)

    async def services(self, asked: queries.ServicesQuery) -> Part[models.Service]:
        """Return services, by host name."""
        sources = self._sources
        return await self._part(
            services_found(sources, asked), service_order, asked.page, lambda each: service_row(sources, each)
        )

    async def service(self, asked: queries.ServiceQuery) -> models.ServiceDetail | None:
        """Return one service."""
        named = queries.ServicesQuery(namespace=asked.namespace, name=asked.hostname)
        held = await self._pace.gathered(services_found(self._sources, named))
        found = next((each for each in held if each.hostname == asked.hostname), None)
        return await self._last(service_detail(self._sources, found)) if found is not None else None

    async def events(self, asked: queries.EventsQuery) -> list[models.Event]:
        """Return what happened lately, the oldest first."""
        return await self._pace.gathered(map(event_row, self._sources.timeline.after(asked.after)))

    def certificates(self) -> list[models.Certificate]:
        """Return the certificates that are watched over, the one that ends first before the others."""
        now = datetime.now(UTC)
        found = sorted(self._sources.certificates(), key=lambda each: (each.ends, each.kind, each.name))
        return [
            models.Certificate(
                kind=each.kind, name=each.name, begins=each.begins, ends=each.ends, problem=each.problem(now)
            )
            for each in found
        ]

    def health(self) -> models.Health:
        """Return how the control plane itself is doing."""
        return health(self._sources)

    async def topology(self, asked: queries.TopologyQuery) -> models.Topology:
        """Return the picture of the mesh."""
        return await self._last(Picture(self._sources, asked.namespace).drawn())

    async def _part(
        self, items: Iterable[S | Pause], order: Callable[[Any], Order], page: Page, shown: Callable[[S], T]
    ) -> Part[T]:
        """Sort, cut, and turn what is left into what is shown."""
        steps: Iterator[S | Pause] = in_order(items, order)
        ordered = await self._pace.gathered(steps)
        held, after = page.cut(ordered, order)
        return Part(await self._pace.gathered(map(shown, held)), after, len(ordered))

    async def _found(self, steps: Iterable[T | Pause]) -> T | None:
        return next(iter(await self._pace.gathered(steps)), None)

    async def _last(self, steps: Iterable[T | Pause]) -> T:
        return (await self._pace.gathered(steps))[-1]


def _same(row: T) -> T:
    return row
