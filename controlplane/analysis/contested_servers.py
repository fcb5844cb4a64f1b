"""Servers of Gateways that are not served, because an older Gateway for the same proxies has their port or host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey
from controlplane.registry.gateways import SERVICE_ANNOTATION, Merge, gateway_server, gateways
from controlplane.registry.store import View


class ContestedServer(NamedTuple):
    """A server, at ``position`` of its servers, that the Gateway ``key`` has in vain: ``winner`` comes before it."""

    key: ObjectKey
    position: int
    winner: ObjectKey


@query
def contested_servers(view: View, _key: tuple[()]) -> tuple[ContestedServer, ...]:
    """Return the servers that Gateways with one selector have in vain because of another of them, sorted.

    Such Gateways are for the same proxies, whichever these are; a proxy that several selectors name may leave out
    further servers. Gateways that name services instead are not considered.
    """
    groups: defaultdict[frozenset[tuple[str, str]], list[Object]] = defaultdict(list)
    for obj in gateways(view):
        if SERVICE_ANNOTATION not in obj.meta.annotations:
            groups[frozenset(obj.spec.selector.items())].append(obj)
    stated = frozenset(view.keys(kinds.GATEWAY))
    found = [lost for group in groups.values() if len(group) > 1 for lost in _lost(group)]
    return tuple(sorted(each for each in found if each.key in stated))


def _lost(group: list[Object]) -> Iterator[ContestedServer]:
    """Merge Gateways as those of a proxy are; it may listen on other ports, but on one for each of theirs."""
    merge = Merge()
    for obj in sorted(group, key=lambda obj: obj.age_order):
        for position, server in enumerate(obj.spec.servers):
            winner = merge.add(gateway_server(obj, server, server.port.number))
            if winner is not None and winner != obj.key:
                yield ContestedServer(obj.key, position, winner)
