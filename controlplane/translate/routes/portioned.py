"""Virtual hosts of one port by portion, and what of them does not change with their routes.

A change of routes or of one service is work for one portion. What is said of all of them at once (``HostNames``) is
made anew only where names, domains or clusters are others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, compress
from sys import intern

from controlplane.engine.recording import query
from controlplane.registry.store import View
from controlplane.translate.routes.domains import OTHER
from controlplane.translate.routes.selection import HostsKey, HostsPortion, portion_count, portion_keys
from controlplane.translate.routes.virtual_hosts import EncodedVirtualHost, VirtualHostKey, digest_of, virtual_host


@dataclass(frozen=True, slots=True)
class BuiltPortion:
    """Virtual hosts of a portion and the keys they were made from, in the order of the names; none without domains.

    ``real`` are the names no other service may take by a generated short name.
    """

    digest: int
    keys: tuple[VirtualHostKey, ...]
    hosts: tuple[EncodedVirtualHost, ...]
    real: frozenset[str]


@query
def built_portion(view: View, portion: HostsPortion) -> BuiltPortion:
    """Return the virtual hosts of a portion as they are if no domain is in two of all."""
    keys = portion_keys(view, portion)
    hosts = [virtual_host(view, each) for each in keys]
    order = sorted(range(len(hosts)), key=[host.name for host in hosts].__getitem__)
    kept = [index for index in order if hosts[index].domains]
    held = tuple([hosts[index] for index in kept])
    return BuiltPortion(digest_of(held), tuple([keys[index] for index in kept]), held, frozenset(real_names(keys)))


def real_names(keys: Sequence[VirtualHostKey]) -> set[str]:
    """Return the names no other service may take by a generated short name."""
    real = {key.host for key in keys if key.service is not None}
    if keys and keys[0].options.with_port:
        real |= {f"{key.host}:{key.port}" for key in keys if key.service is not None}
    return real


@dataclass(frozen=True, slots=True)
class PortionNames:
    """What of a portion does not change with its routes: of each virtual host the name, and of all of them the rest.

    ``short`` is the DNS domain by which each has short names, empty for one without. ``domains`` are there as often as
    virtual hosts have them, ``alternates`` are the generated short names among them. Tuples take less than sets.
    """

    names: tuple[str, ...]
    short: tuple[str, ...]
    domains: tuple[str, ...]
    alternates: tuple[str, ...]
    clusters: tuple[str, ...]
    real: frozenset[str]


@query
def portion_names(view: View, portion: HostsPortion) -> PortionNames:
    """Return what of a portion does not change with its routes; a change of these stops here."""
    held = built_portion(view, portion)
    return PortionNames(
        names=tuple([host.name for host in held.hosts]),
        short=short_domains(held.keys),
        domains=tuple(chain.from_iterable([host.domains for host in held.hosts])),
        alternates=tuple(sorted(frozenset[str]().union(*[host.alternates for host in held.hosts]))),
        clusters=tuple(sorted(frozenset[str]().union(*[host.clusters for host in held.hosts]))),
        real=held.real,
    )


def short_domains(keys: Iterable[VirtualHostKey]) -> tuple[str, ...]:
    """Return the DNS domain of each service that may have short names there, empty for others."""
    return tuple([intern(each.host.partition(".")[2]) if each.shortening == OTHER else "" for each in keys])


@dataclass(frozen=True, slots=True)
class HostNames:
    """The same of all portions. ``order`` has the places of virtual hosts, one portion after the other, by name.

    ``by_domain`` has the positions of those with short names. ``contested`` are domains that several have, and
    generated short names that are real names elsewhere, ``shadowed``; ``crowded`` are the portions with such, by number
    and the place where each begins. All others are what their portions say, whatever the others are.
    """

    order: tuple[int, ...]
    by_domain: Mapping[str, tuple[int, ...]]
    domains: frozenset[str]
    clusters: frozenset[str]
    real: frozenset[str]
    contested: frozenset[str]
    shadowed: frozenset[str]
    crowded: tuple[tuple[int, int], ...]


@query
def host_names(view: View, key: HostsKey) -> HostNames:
    """Return what of the virtual hosts of a port does not change with their routes."""
    held = [portion_names(view, HostsPortion(key, number)) for number in range(portion_count(view, key))]
    names = list(chain.from_iterable([each.names for each in held]))
    short = list(chain.from_iterable([each.short for each in held]))
    order = tuple(sorted(range(len(names)), key=names.__getitem__))
    domains = frozenset[str]().union(*[each.domains for each in held])
    real = frozenset[str]().union(*[each.real for each in held])
    shadowed = frozenset().union(*[real.intersection(each.alternates) for each in held])
    contested = shadowed
    if len(domains) != sum([len(each.domains) for each in held]):
        contested |= _several(chain.from_iterable([each.domains for each in held]))
    starts = accumulate([len(each.names) for each in held], initial=0)
    return HostNames(
        order=order,
        by_domain=by_domain([short[place] for place in order]),
        domains=domains,
        clusters=frozenset[str]().union(*[each.clusters for each in held]),
        real=real,
        contested=contested,
        shadowed=shadowed,
        crowded=tuple(
            (number, start)
            for number, (each, start) in enumerate(zip(held, starts, strict=False))
            if not (contested.isdisjoint(each.domains) and shadowed.isdisjoint(each.alternates))
        ),
    )


def _several(names: Iterable[str]) -> frozenset[str]:
    """Return those that are there more than once."""
    return frozenset(name for name, count in Counter(names).items() if count > 1)


def by_domain(short: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the positions of each DNS domain, ascending; those without one are nowhere."""
    found: dict[str, list[int]] = {}
    for position in compress(range(len(short)), short):
        found.setdefault(short[position], []).append(position)
    return {name: tuple(positions) for name, positions in found.items()}
