"""The xDS protocol's sending half: which response a stream is due next, if any.

Types go in push order. One response per type is in flight; what changes meanwhile is found by comparing the newest
snapshot with what was sent, so nothing queues up. References: xDS protocol, "Eventual consistency considerations",
which asks for make before break:

* Listeners and routes wait while a response that brings new clusters is unanswered. Envoy handles one stream's
  responses in order, so for correctness the order of sending would do; but it withholds the acknowledgement of
  clusters while any of them is warming, as the very signal that routes to them may follow. A refusal is an answer
  too, and a timeout bounds the wait: a cluster that never gets warm holds nothing up for ever.
* A cluster that left the snapshot is taken away when the listeners and routes that the proxy may still be using
  do not name it. Until then it is *retained*, with its load assignment. So is a route configuration while listeners
  name it.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import nsmallest
from typing import NamedTuple, Protocol, TypeVar

from controlplane.ads.contents import NO_NAMES, Contents, Names
from controlplane.ads.virtual_hosts import route_of
from controlplane.ads.watch import CDS, EDS, FULL_SETS, RDS, VHDS, Flight, StreamState, Variant, Watch, union
from controlplane.snapshots import USERS, WHOLE, Resource, ResourceType

_NO_RESOURCES: frozenset[Resource] = frozenset()
_GATED = frozenset({ResourceType.LISTENER, ResourceType.ROUTE, ResourceType.VIRTUAL_HOST})
_MADE = frozenset({ResourceType.ENDPOINT, ResourceType.ROUTE})
MOST_MADE = 2_000
"""Names without a resource that one response answers for, of types in which an empty one stands in its place."""


class Plan(NamedTuple):
    """What one response says: these names of these contents, further resources, and names to remove.

    Equal plans of streams that share contents are equal values, and cheap to compare: large sets are shared objects.
    """

    variant: Variant
    type_url: str
    contents: Contents
    names: Names
    extras: frozenset[Resource] = _NO_RESOURCES
    removed: Names = NO_NAMES


class Encoded(Protocol):
    """A response as bytes, of which the core looks at little. ``version`` names the resources that it holds."""

    @property
    def nonce(self) -> str:
        """Unique on the stream for this type."""
        ...

    @property
    def sequence(self) -> int:
        """Grows with each response that is made, on whatever stream."""
        ...

    @property
    def version(self) -> str:
        """Version of the response: equal for equal resources."""
        ...


E = TypeVar("E", bound=Encoded)


class _Step(NamedTuple):
    """What a watch needs: a response or none.

    ``names`` are new or changed, or due; ``touched`` are those and all others that the response changes at the proxy.
    ``retained`` is what is retained then, ``later`` are names that are due once this one is answered.
    """

    plan: Plan | None
    names: Names
    touched: Names
    retained: frozenset[Resource]
    later: Names = NO_NAMES


def respond(state: StreamState, encode: Callable[[Plan, int], E], overdue: Names) -> tuple[StreamState, E | None]:
    """Return the next response, encoded, and the state once it is sent; ``None`` when nothing can be sent now.

    ``encode`` is also given the sequence number of the type's last response on this stream: the new one's is higher.
    Answers to responses of the types (URLs) in ``overdue`` are waited for no longer. Call it until it gives ``None``,
    and again after each request and each new snapshot.
    """
    moved = True
    goal = state.served.contents
    while moved:
        moved = False
        for watch in state.watches.values():
            contents = goal[watch.type]
            if watch.sent is contents and not watch.due and not watch.owed and not watch.retained:
                continue
            if watch.closed or _unanswered(watch, overdue) or _held_back(state, watch, overdue):
                continue
            if _withheld(state.variant, watch, contents):
                continue
            step = _step(state, watch, contents)
            if step.plan is not None:
                encoded = encode(step.plan, watch.sequence)
                return _sent(state, watch, step, encoded), encoded
            if watch.sent is not contents or watch.due or watch.retained != step.retained:
                # Nothing of it concerns this proxy. Go round again: clusters may have waited for these routes.
                state = state.putting(watch._replace(sent=contents, due=step.later, retained=step.retained))
                moved = True
    return state, None


def waits_for(state: StreamState) -> tuple[str, ...]:
    """Return the types (URLs) whose answers something that is due has to wait for; empty if nothing is due."""
    if not any(_pending(state, watch) for watch in state.watches.values()):
        return ()
    return tuple(watch.type_url for watch in state.watches.values() if watch.flight is not None)


def _pending(state: StreamState, watch: Watch) -> bool:
    if watch.sent is state.served.contents[watch.type] and not watch.due and not watch.owed:
        return False
    return not watch.closed


def _unanswered(watch: Watch, overdue: Names) -> bool:
    return watch.flight is not None and watch.type_url not in overdue


def _withheld(variant: Variant, watch: Watch, contents: Contents) -> bool:
    """Whether a first answer has to wait until something is built that the proxy may hold or wants."""
    failures = contents.failures
    if not watch.owed or not failures:
        return False
    if watch.resumed and (failures.partial or _would_remove(variant, watch, contents)):
        return True
    if watch.wildcard:
        return bool(failures.blocking)
    return bool(watch.names) and all(map(contents.is_unbuilt, watch.names))


def _would_remove(variant: Variant, watch: Watch, contents: Contents) -> bool:
    """Whether an answer takes away what it does not name, of which not all names are known."""
    return variant is Variant.SOTW and watch.type in FULL_SETS and contents.failures.concerns(WHOLE)


def _held_back(state: StreamState, watch: Watch, overdue: Names) -> bool:
    """Whether listeners or routes have to wait for clusters or load assignments ("CDS updates ... first")."""
    if watch.type not in _GATED:
        return False
    clusters = state.watch(CDS)
    if clusters is None:
        return False
    if _withheld(state.variant, clusters, state.served.of(clusters.type)):
        return True
    # A proxy that begins with nothing serves nothing yet: its first listeners need not wait for answers.
    careful = bool(watch.nonce) or any(other.resumed for other in state.watches.values())
    if clusters.flight is not None and _unanswered(clusters, overdue):
        goal = state.served.of(clusters.type)
        if clusters.due or clusters.owed or goal.since(clusters.sent).changed or (careful and clusters.flight.adds):
            return True
    endpoints = state.watch(EDS)
    return careful and endpoints is not None and bool(endpoints.due) and _unanswered(endpoints, overdue)


def _step(state: StreamState, watch: Watch, contents: Contents) -> _Step:
    changed, removed = contents.since(watch.sent)
    if not watch.wildcard:
        changed, removed = _common(changed, watch.names), _common(removed, watch.names)
    retained, gone = watch.retained, NO_NAMES
    if removed or retained:
        retained, gone = _departures(state, watch, contents, removed)
    present, absent, later = _due(watch, contents)
    if watch.type is ResourceType.VIRTUAL_HOST:
        changed, present = _of_watched_routes(state, contents, changed), _of_watched_routes(state, contents, present)
    extras: frozenset[Resource] = _NO_RESOURCES
    if gone or absent:
        extras, gone = _absent(state, watch, absent, gone, retained)
    names = union(changed, present)
    touched = union(names, gone)
    if extras:
        touched = touched.union(resource.name for resource in extras)
    if not touched and not watch.owed:
        return _Step(None, NO_NAMES, NO_NAMES, retained, later)
    if state.variant is Variant.DELTA:
        if watch.type is ResourceType.EXTENSION:
            gone = NO_NAMES  # Envoy collects extensions by itself; a removal breaks the listeners that still use one
        return _Step(
            Plan(state.variant, watch.type_url, contents, names, extras, gone), names, touched, retained, later
        )
    if watch.type in FULL_SETS:
        # "Must include the complete state of the world ... even if they did not change."
        everything = contents.names if watch.wildcard else contents.split(watch.names)[0]
        plan = Plan(state.variant, watch.type_url, contents, everything, extras | retained)
        return _Step(plan, names, touched, retained)
    if not names and not extras and not watch.owed:
        # "no mechanism to tell the client that resources have been deleted"
        return _Step(None, NO_NAMES, NO_NAMES, retained, later)
    return _Step(Plan(state.variant, watch.type_url, contents, names, extras), names, touched, retained, later)


def _due(watch: Watch, contents: Contents) -> tuple[Names, Names, Names]:
    """Divide the names that are due into those that are there, those that are not, and those for the next response.

    What stands in the place of names that do not exist is made one by one, and a peer may ask for very many.
    """
    if not watch.due:
        return NO_NAMES, NO_NAMES, NO_NAMES
    present, absent = contents.split(watch.due)
    if watch.type not in _MADE or len(absent) <= MOST_MADE:
        return present, absent, NO_NAMES
    first = frozenset(nsmallest(MOST_MADE, absent))
    return present, first, absent - first


def _of_watched_routes(state: StreamState, contents: Contents, names: Names) -> Names:
    """Return the virtual hosts whose route configurations the proxy watches: it takes no others."""
    routes = state.watch(RDS)
    if routes is None or routes.wildcard or contents.routes.keys() <= routes.names:
        return names
    return frozenset(name for name in names if route_of(name) in routes.names)


def _common(some: Names, subscribed: Names) -> Names:
    """Return what is in both sets: the first itself where all of it is."""
    if not some or some is subscribed:
        return some
    both = some & subscribed
    return some if len(both) == len(some) else both


def _departures(
    state: StreamState, watch: Watch, contents: Contents, removed: Names
) -> tuple[frozenset[Resource], Names]:
    """Divide what left the snapshot into resources that the proxy may still need and names that may go."""
    leaving = {resource for resource in watch.retained if resource.name not in contents.resources}
    leaving.update(watch.sent.resources[name] for name in removed)
    if watch.type is ResourceType.VIRTUAL_HOST:
        return _hosts_leaving(state, contents, leaving)
    needed = _needed(state, watch)
    kept = frozenset(
        resource
        for resource in leaving
        if needed is None or resource.name in needed or contents.is_unbuilt(resource.name)
    )
    return kept, frozenset(resource.name for resource in leaving if resource not in kept)


def _hosts_leaving(state: StreamState, contents: Contents, leaving: set[Resource]) -> tuple[frozenset[Resource], Names]:
    """Divide virtual hosts likewise: those of a route configuration that left stay as long as the proxy watches it.

    Then it drops them by itself. If the route configuration comes back before, those that did not are taken away.
    """
    routes = state.watch(RDS)
    kept = frozenset(
        resource
        for resource in leaving
        if contents.is_unbuilt(resource.name)
        or (
            route_of(resource.name) not in contents.routes
            and routes is not None
            and routes.covers(route_of(resource.name))
        )
    )
    return kept, frozenset(
        resource.name for resource in leaving if resource not in kept and route_of(resource.name) in contents.routes
    )


def _needed(state: StreamState, watch: Watch) -> Names | None:
    """Return the names of this type that the proxy may be using though the snapshot lacks them; ``None``: any."""
    if watch.type is ResourceType.CLUSTER and watch.owed and watch.resumed:
        return None  # its listeners and routes may be in requests that have not come yet
    if watch.type is not None and watch.type in USERS:
        return _used(state, watch.type)
    clusters = state.watch(CDS) if watch.type is ResourceType.ENDPOINT else None
    if clusters is None:
        return NO_NAMES
    held = clusters.sent.names.union(resource.name for resource in clusters.retained)
    return held - state.served.of(clusters.type).names


def _used(state: StreamState, type_: ResourceType) -> Names | None:
    """Return the names of a type that resources refer to which the proxy may hold beside the newest; ``None``: any."""
    used = NO_NAMES
    for user in USERS[type_]:
        watch = state.watch(user.value)
        if watch is None or not (watch.wildcard or watch.names):
            continue
        if watch.unknown or any(not resource.content for resource in watch.retained):
            return None
        outdated = list(watch.lingering)
        if watch.flight is not None and watch.flight.base is not None:
            outdated.append(watch.flight.base)
        if watch.sent is not state.served.of(watch.type):
            outdated.append(watch.sent)
        used = used.union(
            *(held.named(type_) for held in outdated), *(resource.named(type_) for resource in watch.retained)
        )
    return used


def _absent(
    state: StreamState, watch: Watch, due: Names, gone: Names, retained: frozenset[Resource]
) -> tuple[frozenset[Resource], Names]:
    """Divide names that the snapshot lacks into resources to send in their place, and names to remove.

    ``due`` were asked for, ``gone`` left the snapshot.
    """
    kept = {resource.name: resource for resource in retained if resource.content}
    extras, removed = [], []
    contents = state.served.of(watch.type)
    for name in due:
        if name not in kept and contents.is_unbuilt(name):
            continue  # sent when it is built
        instead = kept.get(name) or _missing(state, watch, name)
        if instead is None:
            removed.append(name)
        else:
            extras.append(instead)
    for name in gone - due:
        if watch.type is ResourceType.ENDPOINT and state.watch(CDS) is not None:
            if name not in state.served.of(ResourceType.CLUSTER).resources:
                continue  # the proxy drops it together with its cluster
            if (instead := _missing(state, watch, name)) is not None:
                extras.append(instead)
                continue
        removed.append(name)
    return frozenset(extras), frozenset(removed)


def _missing(state: StreamState, watch: Watch, name: str) -> Resource | None:
    return state.missing(watch.type, name) if watch.type is not None else None


def _sent(state: StreamState, watch: Watch, step: _Step, encoded: Encoded) -> StreamState:
    touched, base, lingering = step.touched, None, watch.lingering
    if watch.type in _GATED:
        base = watch.sent
        if watch.flight is not None and watch.flight.base is not None:  # overtaken unanswered: it may hold either
            lingering = (*lingering, watch.flight.base)
    flight = Flight(
        encoded.nonce, encoded.version,
        names=touched if watch.flight is None else union(touched, watch.flight.names),
        base=base,
        adds=watch.type is ResourceType.CLUSTER and _adds(watch, step),
        cures=bool(watch.doubtful) and not watch.doubtful.isdisjoint(touched),
    )  # fmt: skip
    watch = watch._replace(
        sent=state.served.of(watch.type), due=step.later, owed=False, retained=step.retained, flight=flight,
        lingering=lingering, nonce=flight.nonce, sequence=encoded.sequence, version=flight.version,
    )  # fmt: skip
    state = state.putting(watch)
    if watch.type is ResourceType.ROUTE:
        return _furnishing(state, step.names)
    return _warming(state, step.names) if watch.type is ResourceType.CLUSTER and step.names else state


def _adds(watch: Watch, step: _Step) -> bool:
    """Whether the response may bring clusters that the proxy lacks: new ones, refused ones, or all at the beginning."""
    if watch.owed:
        return bool(step.names)
    known, unsure = watch.sent.resources, union(watch.doubtful, watch.due)
    return any(name not in known or name in unsure for name in step.names)


def _furnishing(state: StreamState, routes: Names) -> StreamState:
    """Make the virtual hosts of these route configurations due, now that they are sent: see ``virtual_hosts``."""
    hosts = state.watch(VHDS)
    if hosts is None:
        return state
    of_route = state.served.of(hosts.type).routes
    due = NO_NAMES
    for name in routes:
        due = union(due, of_route.get(name, NO_NAMES))
    return state.putting(hosts._replace(due=union(hosts.due, due))) if due else state


def _warming(state: StreamState, clusters: Names) -> StreamState:
    """Make the load assignments of these clusters due, changed or not, once the clusters themselves are sent.

    "Warming of Cluster is completed only when a new ClusterLoadAssignment response is supplied by management server
    even though there is no change in endpoints" ("Resource warming"). Only for the clusters concerned: the others do
    not warm.
    """
    endpoints = state.watch(EDS)
    if endpoints is None:
        return state.with_warmed(union(state.warmed, clusters))
    subscribed = _common(clusters, endpoints.names) if not endpoints.wildcard else clusters
    return state.putting(endpoints._replace(due=union(endpoints.due, subscribed))) if subscribed else state
