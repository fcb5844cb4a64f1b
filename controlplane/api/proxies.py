"""Proxies: how they stand, what they refuse and why, and what they should hold."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import chain, islice

from controlplane.admin.pace import PAUSE, Pause
from controlplane.admin.rejection import rejected_names
from controlplane.admin.sources import AdminSources, find_connection
from controlplane.ads.sync_status import ProxyStatus, Rejection, TypeStatus
from controlplane.api.models import (
    ComparedResource,
    ObjectName,
    Proxy,
    ProxyDetail,
    Refusal,
    RefusedResource,
    ResourceName,
    State,
    TypeState,
    Unbuilt,
)
from controlplane.api.queries import ProxiesQuery
from controlplane.model.objects import ObjectKey
from controlplane.snapshots import SHORT, Resource, ResourceType, Snapshot

TYPES = {name: type_ for type_, name in SHORT.items()}
MOST_OBJECTS = 20
"""That are named of a resource."""
MOST_UNBUILT = 100
LONGEST_IN_LIST = 1_000
LONGEST_MESSAGE = 16_384
"""Characters of what a proxy says: it may be a megabyte."""
_MOST_RESOURCES = 100
_RANK = {state: rank for rank, state in enumerate(State)}


def why_absent(sources: AdminSources, *ids: str) -> str:
    """Return a sentence that says which of these proxies there is nothing of."""
    connected = sources.proxies()
    if gone := [each for each in dict.fromkeys(ids) if find_connection(connected, each) is None]:
        return f"{' and '.join(gone)}: not connected here, perhaps to another replica."
    return f"{' or '.join(dict.fromkeys(ids))}: nothing has been compiled for it yet."


def cut(text: str, longest: int) -> str:
    """Return a text, or its beginning and how much is missing."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest} more characters)"


def proxy_order(status: ProxyStatus) -> tuple[str, ...]:
    """Return what proxies are sorted by: state, the worst first; then cluster, namespace and id."""
    proxy = status.proxy
    return (str(_RANK[worst(status.types.values())]), proxy.cluster_id, proxy.namespace, proxy.id, status.connection_id)


def proxies_found(sources: AdminSources, asked: ProxiesQuery) -> Iterator[ProxyStatus | Pause]:
    """Yield how the proxies stand that are asked for."""
    for connection_id, proxy in sources.proxies().items():
        yield PAUSE
        if asked.namespace not in {"", proxy.namespace} or asked.name not in proxy.id:
            continue
        status = sources.status(connection_id)
        if status is None:
            continue
        state = worst(status.types.values())
        if (asked.state is None or state is asked.state) and not (asked.troubled and in_order(state)):
            yield status


def in_order(state: State) -> bool:
    """Whether a proxy in this state needs nobody's attention."""
    return state in {State.SYNCED, State.NOT_SENT}


def worst(types: Iterable[TypeStatus]) -> State:
    """Return the worst state; a proxy that has asked for nothing is in none."""
    return min((State(each.sync.value) for each in types), key=_RANK.__getitem__, default=State.NOT_SENT)


def proxy_row(sources: AdminSources, status: ProxyStatus) -> Proxy:
    """Return one proxy as lists have it."""
    proxy, state = status.proxy, worst(status.types.values())
    since = (each.sent_at for each in status.types.values() if each.sync.value == state and each.sent_at is not None)
    return Proxy(
        connection_id=status.connection_id,
        id=proxy.id,
        namespace=proxy.namespace,
        type=proxy.type,
        cluster_id=proxy.cluster_id or sources.cluster_id,
        version=proxy.istio_version,
        peer=status.peer,
        connected_at=status.connected_at,
        state=state,
        since=min(since, default=None),
        types=[_type_state(SHORT[type_], status.types[type_]) for type_ in ResourceType if type_ in status.types],
    )


def _type_state(name: str, status: TypeStatus) -> TypeState:
    rejection = status.rejection
    return TypeState(
        type=name,
        state=State(status.sync.value),
        sent_at=status.sent_at,
        sent_revision=status.sent_revision,
        acked_revision=status.acked_revision,
        sent_version=status.sent_version,
        acked_version=status.acked_version,
        rejection=cut(rejection.message, LONGEST_IN_LIST) if rejection is not None else "",
        rejected_at=rejection.at if rejection is not None else None,
        unbuilt=len(status.failed),
    )


def proxy_detail(sources: AdminSources, status: ProxyStatus) -> Iterator[ProxyDetail | Pause]:
    """Yield pauses, and at the end all that is known of one proxy."""
    refusals: list[Refusal] = []
    for type_, held in status.types.items():
        if held.rejection is not None:
            resources: list[RefusedResource] = []
            yield from _refused(sources, status, type_, held, resources)
            refusals.append(_refusal(SHORT[type_], held.rejection, resources))
    snapshot, proxy = sources.snapshot(status.connection_id), status.proxy
    unbuilt = [
        Unbuilt(type=SHORT[type_], name=name, reason=cut(held.failed[name], LONGEST_IN_LIST))
        for type_, held in status.types.items()
        for name in islice(sorted(held.failed), MOST_UNBUILT)
    ]
    yield ProxyDetail(
        proxy=proxy_row(sources, status),
        addresses=list(proxy.ips),
        labels=dict(proxy.labels),
        locality=str(proxy.locality),
        domain=proxy.domain,
        service_cluster=proxy.service_cluster,
        refusals=refusals,
        unbuilt=unbuilt,
        resources={
            SHORT[type_]: len(snapshot.of(type_))
            for type_ in ResourceType
            if snapshot is not None and snapshot.of(type_)
        },
        revision=snapshot.revision if snapshot is not None else None,
    )


def _refusal(name: str, rejection: Rejection, resources: list[RefusedResource]) -> Refusal:
    return Refusal(
        type=name,
        message=cut(rejection.message, LONGEST_MESSAGE),
        at=rejection.at,
        version=rejection.version,
        resources=resources,
    )


def _refused(
    sources: AdminSources, status: ProxyStatus, type_: ResourceType, held: TypeStatus, found: list[RefusedResource]
) -> Iterator[Pause]:
    """Put into ``found`` the resources that a refusal names."""
    snapshot = sources.snapshot(status.connection_id)
    known = snapshot.of(type_) if snapshot is not None else {}
    names = rejected_names(held.rejection.message if held.rejection is not None else "", known, held.names)
    for name in names[:_MOST_RESOURCES]:
        yield PAUSE
        objects: list[ObjectName] = []
        count = yield from objects_behind(sources, status.connection_id, type_, name, objects)
        found.append(RefusedResource(name=name, objects=objects, object_count=count))


def objects_behind(
    sources: AdminSources, connection_id: str, type_: ResourceType, name: str, found: list[ObjectName]
) -> Generator[Pause, None, int]:
    """Put into ``found`` the first of the objects that a resource was made from; return how many there are."""
    keys: set[ObjectKey] = set()
    for key in sources.behind(connection_id, type_, name):
        if key is not None:
            keys.add(key)
        yield PAUSE
    first: list[ObjectKey] = []
    for key in keys:
        first.append(key)
        if len(first) > 2 * MOST_OBJECTS:
            first = sorted(first)[:MOST_OBJECTS]
            yield PAUSE
    found += (ObjectName.of(key) for key in sorted(first)[:MOST_OBJECTS])
    return len(keys)


def resource_rows(held: Iterable[Resource], name: str) -> Iterator[ResourceName | Pause]:
    """Yield the resources whose name has a text in it."""
    for resource in held:
        yield PAUSE
        if name in resource.name:
            yield ResourceName(
                type=SHORT[resource.type],
                name=resource.name,
                version=resource.version,
                size_bytes=len(resource.content),
            )


def differing(one: Snapshot, other: Snapshot, type_: str) -> Iterator[ComparedResource | Pause]:
    """Yield the resources that two snapshots do not have alike, of one type or, where it is empty, of all."""
    for short, of in TYPES.items():
        held, others = one.of(of), other.of(of)
        if type_ not in {"", short} or held is others:
            continue
        for name in chain(held, (name for name in others if name not in held)):
            yield PAUSE
            mine, theirs = held.get(name), others.get(name)
            if mine != theirs:
                yield ComparedResource(
                    type=short,
                    name=name,
                    one=mine.version if mine is not None else "",
                    other=theirs.version if theirs is not None else "",
                )
