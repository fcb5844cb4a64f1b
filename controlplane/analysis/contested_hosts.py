"""Hosts that several VirtualServices want in the mesh: a sidecar takes the HTTP routes of the first one, alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model.objects import ObjectKey
from controlplane.registry.store import View
from controlplane.registry.virtual_services import MESH_GATEWAY, ResolvedVirtualService, virtual_service_table


class ContestedHost(NamedTuple):
    """A host, at ``position`` of its hosts, that the VirtualService ``key`` has in vain: ``winner`` comes before it."""

    key: ObjectKey
    position: int
    host: str
    winner: ObjectKey


@query
def contested_hosts(view: View, _key: tuple[()]) -> tuple[ContestedHost, ...]:
    """Return the hosts that VirtualServices have in vain, sorted.

    One is had in vain where all clients see, before its VirtualService, another one that has the host too and whose
    routes are for every client. Gateways use the routes of all, so only sidecars count. What a Sidecar resource hides
    from its clients is not considered.
    """
    table = virtual_service_table(view, ())
    narrow = sorted({at for at in (*table.private, *table.exported) if at[1] == MESH_GATEWAY})
    seen = [table.public.get(MESH_GATEWAY, ())]
    seen += [(*table.private.get(at, ()), *table.exported.get(at, ())) for at in narrow]
    several = _wanted_by_several(held for group in seen for held in group)
    if not several:
        return ()
    winners: dict[tuple[ObjectKey, int, str], list[ObjectKey | None]] = {}
    for group in seen:
        for key, position, host, winner in _claims(group, several):
            winners.setdefault((key, position, host), []).append(winner)
    return tuple(
        sorted(
            ContestedHost(*claim, first)
            for claim, found in winners.items()
            if (first := found[0]) is not None and None not in found
        )
    )


def _wanted_by_several(every: Iterable[ResolvedVirtualService]) -> frozenset[str]:
    """Return the hosts that more than one VirtualService has; there are few."""
    owners: dict[str, ObjectKey] = {}
    several: set[str] = set()
    for held in every:
        for host in held.hosts:
            if owners.setdefault(host, held.key) is not held.key:
                several.add(host)
    return frozenset(several)


def _claims(
    group: Iterable[ResolvedVirtualService], hosts: frozenset[str]
) -> Iterator[tuple[ObjectKey, int, str, ObjectKey | None]]:
    """Yield who has which of these hosts, in their order, with the one that has it already, ``None`` for nobody."""
    first: dict[str, ObjectKey] = {}
    for held in group:
        if hosts.isdisjoint(held.hosts) or not held.http or held.semantics:
            continue
        for position, host in enumerate(held.hosts):
            yield held.key, position, host, first.get(host)
        if _for_every_client(held):
            for host in held.hosts:
                first.setdefault(host, held.key)


def _for_every_client(held: ResolvedVirtualService) -> bool:
    """Whether some route is for all sidecars at all ports; otherwise others have the rest."""
    matches = [match for rule in held.http for match in rule.match if not match.port]
    return any(not rule.match for rule in held.http) or any(
        MESH_GATEWAY in match.gateways if match.gateways else not (match.source_namespace or match.source_labels)
        for match in matches
    )
