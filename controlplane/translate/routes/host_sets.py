"""The virtual hosts of one port together: each domain in one of them, sorted by name, most of them shared.

Clients without configuration of their own see the same as a *neutral* client, one that lives in no namespace, except
for the short names of the services of their namespace. So the neutral set is made once, and theirs are that one with
those few virtual hosts replaced, which costs as much as there are of them; whoever has more of its own gets a set built
from the start, with equal result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope
from controlplane.registry.aliases import aliases
from controlplane.registry.destination_rules import rule_for
from controlplane.registry.scopes import EgressKey, default_services
from controlplane.registry.store import View
from controlplane.registry.virtual_services import virtual_service, with_own_virtual_services
from controlplane.translate.routes.claims import (
    BindingKey,
    ListenerKey,
    bound_routes,
    destinations,
    egress_listener,
    virtual_service_hosts,
)
from controlplane.translate.routes.contested import settle
from controlplane.translate.routes.domains import OWN, neutral_domain
from controlplane.translate.routes.hash_policy import hashed_hosts, service_hash
from controlplane.translate.routes.portioned import (
    built_portion,
    by_domain,
    host_names,
    real_names,
    short_domains,
)
from controlplane.translate.routes.selection import HostsKey, HostsPortion, portion_count
from controlplane.translate.routes.virtual_hosts import (
    EncodedHosts,
    EncodedVirtualHost,
    Swaps,
    VirtualHostKey,
    digest_of,
    service_stated,
    virtual_host,
)

NEUTRAL = ListenerKey(EgressKey("", None), 0)


@dataclass(frozen=True, slots=True)
class BuiltHosts:
    """Virtual hosts without clashing domains, sorted by name, and the keys they were made from.

    ``digest`` is that of all: the first to be compared, so that others are found to be others at once.
    ``catches_all`` says whether one is for every host there is.
    """

    digest: int
    keys: tuple[VirtualHostKey, ...]
    hosts: tuple[EncodedVirtualHost, ...]
    catches_all: bool
    encoded: EncodedHosts = field(compare=False, repr=False)  # by the hosts


class OwnHost(NamedTuple):
    """A virtual host that a client has in place of a neutral one: for the same host, with more domains."""

    neutral: EncodedVirtualHost
    key: VirtualHostKey
    host: EncodedVirtualHost


@dataclass(frozen=True, slots=True)
class HostSet:
    """Virtual hosts that others share, and those that a client has of its own in place of some, by position.

    ``clusters`` are all clusters of all of them: own ones differ in their domains alone.
    """

    shared: BuiltHosts
    own: Mapping[int, OwnHost]
    clusters: frozenset[str]
    encoded: EncodedHosts = field(compare=False, repr=False)  # by the others

    @classmethod
    def of(cls, shared: BuiltHosts, own: OwnPlaces | None, clusters: frozenset[str]) -> HostSet:
        """Replace some of the shared ones."""
        if own is None:
            return cls(shared, {}, clusters, shared.encoded)
        return cls(shared, own.hosts, clusters, shared.encoded.swapping(own.swaps))

    @property
    def catches_all(self) -> bool:
        """Whether one is for every host there is."""
        return self.shared.catches_all

    def key(self, position: int) -> VirtualHostKey:
        """Return what the virtual host at a position was made from."""
        return self.own[position].key if position in self.own else self.shared.keys[position]

    def host(self, position: int) -> EncodedVirtualHost:
        """Return the virtual host at a position."""
        return self.own[position].host if position in self.own else self.shared.hosts[position]

    def __len__(self) -> int:
        return len(self.shared.hosts)


@query
def host_set(view: View, key: HostsKey) -> HostSet:
    """Return the virtual hosts of one port for one kind of client."""
    return _derived(view, key) or HostSet.of(built(view, key), None, host_clusters(view, key))


@query
def host_clusters(view: View, key: HostsKey) -> frozenset[str]:
    """Return all clusters of a set that is built; the same object as long as they are the same."""
    names = host_names(view, key)
    if not names.contested:
        return names.clusters
    hosts = built(view, key).hosts
    return names.clusters if len(hosts) == len(names.order) else frozenset().union(*[host.clusters for host in hosts])


@query
def built(view: View, key: HostsKey) -> BuiltHosts:
    """Return the virtual hosts of one port, nothing shared but the encoded virtual hosts themselves."""
    names = host_names(view, key)
    held = [built_portion(view, HostsPortion(key, number)) for number in range(portion_count(view, key))]
    keys = list(chain.from_iterable([each.keys for each in held]))
    hosts = list(chain.from_iterable([each.hosts for each in held]))
    order: Sequence[int] = names.order
    digest = sum([each.digest for each in held])
    if names.contested:
        settle(view, key, names, keys, hosts)
        order = [place for place in order if hosts[place].domains]
        digest = digest_of(hosts)
    ordered = tuple(map(hosts.__getitem__, order))
    encoded = EncodedHosts.known(ordered, digest)
    return BuiltHosts(
        digest=encoded.digest,
        keys=tuple(map(keys.__getitem__, order)),
        hosts=ordered,
        catches_all="*" in names.domains,
        encoded=encoded,
    )


@query
def built_keys(view: View, key: HostsKey) -> tuple[VirtualHostKey, ...]:
    """Return what they were made from; a change of mere routes stops here."""
    return built(view, key).keys


@query
def hosts_by_domain(view: View, key: HostsKey) -> Mapping[str, int]:
    """Return the position in ``host_set`` of each domain's virtual host."""
    held = host_set(view, key)
    return {name: index for index in range(len(held)) for name in held.host(index).domains}


@query
def neutral_listener(view: View, listener: ListenerKey) -> bool:
    """Whether an egress listener holds just what one of a client in no namespace holds; most do, whatever changes."""
    egress = listener.egress
    own_ones = with_own_virtual_services(view, ())
    if egress.sidecar is None and not listener.position and own_ones.isdisjoint((egress.namespace, "")):
        return default_services(view, egress.namespace) == default_services(view, "")
    own, neutral = egress_listener(view, listener), egress_listener(view, NEUTRAL)
    if own is None or neutral is None or own.spec is not None:
        return False
    return own.services == neutral.services and own.virtual_services == neutral.virtual_services


@dataclass(frozen=True, slots=True)
class Places:
    """Where in a neutral host set services with short names are, by their DNS domain: their positions, ascending.

    ``domains`` are all of the set, ``real`` the real names of services.
    """

    by_domain: Mapping[str, tuple[int, ...]]
    domains: frozenset[str]
    real: frozenset[str]


@query
def places(view: View, key: HostsKey) -> Places:
    """Return where services with short names are in a neutral host set."""
    names = host_names(view, key)
    if not names.contested:
        return Places(names.by_domain, names.domains, names.real)
    held = built(view, key)
    if len(held.hosts) == len(names.order) and not names.shadowed:  # each domain is somewhere still
        return Places(names.by_domain, names.domains, names.real)
    domains = frozenset[str]().union(*[host.domains for host in held.hosts])
    return Places(by_domain(short_domains(held.keys)), domains, frozenset(real_names(held.keys)))


@dataclass(frozen=True, slots=True)
class Sensitive:
    """What of a neutral host set may be different for a client: each client looks these few up for itself.

    ``bindings`` are VirtualServices whose routes depend on the source or on DestinationRules, ``hashed`` the positions
    of services whose default route may have a hash policy. ``rigid`` is true where sharing does not pay.
    """

    bindings: tuple[BindingKey, ...]
    hashed: tuple[int, ...]
    rigid: bool


@query
def sensitive(view: View, key: HostsKey) -> Sensitive:
    """Return what of a neutral host set depends on the client."""
    candidates = hashed_hosts(view, ())
    bound = virtual_service_hosts(view, key.listener)
    return Sensitive(
        bindings=tuple(
            BindingKey(each.key, key.port, key.listener, key.labels)
            for each in bound
            if depends_on_client(view, each.key)
        ),
        hashed=tuple(
            index
            for index, each in enumerate(built(view, key).keys if candidates else ())
            if each.routes is None and candidates.may_hash(each.host)
        ),
        rigid=bool(aliases(view, key.listener.egress.namespace)) or any(e.semantics == "gateway" for e in bound),
    )


@query
def depends_on_client(view: View, key: ObjectKey) -> bool:
    """Whether different clients may get different routes of a VirtualService at the same port."""
    held = virtual_service(view, key)
    if held is None:
        return False
    if any(match.source_labels or match.source_namespace for rule in held.http for match in rule.match):
        return True
    candidates = hashed_hosts(view, ())
    named = destinations(held, range(len(held.http))) if candidates else ()
    return any(candidates.may_hash(destination.host) for destination in named)


class OwnKey(NamedTuple):
    """A neutral host set, and the DNS domain of clients that have it but for their short names."""

    neutral: HostsKey
    domain: str


@query
def own_keys(view: View, key: OwnKey) -> tuple[VirtualHostKey, ...]:
    """Return the neutral keys of the services of a DNS domain; a change to any others stops here."""
    keys = built_keys(view, key.neutral)
    return tuple([keys[position] for position in own_positions(view, key)])


@dataclass(frozen=True, slots=True)
class OwnHosts:
    """The virtual hosts that clients of a DNS domain have in place of neutral ones.

    ``added`` are the domains that these have beyond the others, ``alternates`` all their generated short names.
    ``shareable`` is false where they do not fit together, or not in the place of the neutral ones. ``grown`` and
    ``digest`` say how they change size and digest.
    """

    hosts: tuple[OwnHost, ...]
    added: frozenset[str]
    alternates: frozenset[str]
    shareable: bool
    grown: int
    digest: int


@query
def own_hosts(view: View, key: OwnKey) -> OwnHosts:
    """Return the virtual hosts of clients of a DNS domain for the services of that domain."""
    hosts: list[OwnHost] = []
    added: set[str] = set()
    alternates: set[str] = set()
    shareable = True
    for neutral in own_keys(view, key):
        own = neutral._replace(shortening=OWN)
        held = OwnHost(virtual_host(view, neutral), own, virtual_host(view, own))
        fresh = set(held.host.domains).difference(held.neutral.domains)
        shareable = shareable and neutral.only is None and not neutral.dropped and fresh.isdisjoint(added)
        added |= fresh
        alternates |= held.host.alternates
        hosts.append(held)
    return OwnHosts(
        tuple(hosts),
        frozenset(added),
        frozenset(alternates),
        shareable,
        grown=sum([len(each.host.body) - len(each.neutral.body) for each in hosts]),
        digest=sum([each.host.digest - each.neutral.digest for each in hosts]),
    )


@query
def own_positions(view: View, key: OwnKey) -> tuple[int, ...]:
    """Return where the services of a DNS domain are in the neutral host set; a change of their routes stops here."""
    return places(view, key.neutral).by_domain.get(key.domain, ())


@dataclass(frozen=True, slots=True)
class OwnPlaces:
    """The virtual hosts that clients of a DNS domain have in place of neutral ones, by position."""

    hosts: Mapping[int, OwnHost]
    swaps: Swaps = field(compare=False, repr=False)  # by the hosts


@query
def own_places(view: View, key: OwnKey) -> OwnPlaces:
    """Return them by position."""
    positions, own = own_positions(view, key), own_hosts(view, key)
    pieces = dict(zip(positions, [each.host.body for each in own.hosts], strict=True))
    return OwnPlaces(dict(zip(positions, own.hosts, strict=True)), Swaps(pieces, own.grown, own.digest))


def _derived(view: View, key: HostsKey) -> HostSet | None:
    """Return the neutral set with the client's short names; ``None`` where the client has more of its own."""
    neutral = key._replace(listener=NEUTRAL, domain=neutral_domain(key.domain), labels=frozenset())
    if key == neutral or not neutral_listener(view, key.listener):
        return None
    shared = sensitive(view, neutral)
    if shared.rigid or aliases(view, key.listener.egress.namespace) or not _alike(view, key, neutral, shared):
        return None
    own_key = OwnKey(neutral, key.domain)
    own = own_hosts(view, own_key)
    held = places(view, neutral)
    if not own.shareable or not own.added.isdisjoint(held.domains) or not own.alternates.isdisjoint(held.real):
        return None
    return HostSet.of(built(view, neutral), own_places(view, own_key), host_clusters(view, neutral))


def _alike(view: View, key: HostsKey, neutral: HostsKey, shared: Sensitive) -> bool:
    """Whether the routes that depend on the client are the same for this one and the neutral one."""
    egress = key.listener.egress
    for binding in shared.bindings:
        own = binding._replace(listener=key.listener, labels=key.labels)
        if bound_routes(view, own) != bound_routes(view, binding):
            return False
    client = ClientScope(egress.namespace, sidecar=egress.sidecar, labels=key.labels)
    keys = built(view, neutral).keys
    for index in shared.hashed:
        each = keys[index]
        service = service_stated(view, each.service, each.host) if each.service is not None else None
        rule = rule_for(view, client, service) if service is not None else None
        if service_hash(rule, each.port) != each.hash_policy:
            return False
    return True
