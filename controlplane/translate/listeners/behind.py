"""The objects behind a listener: who asks why Envoy refused it, or what of it is left out, is told these.

A listener's bytes depend on the plan alone, so what was read for them does not say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import re2
from envoy.config.listener.v3.listener_components_pb2 import FilterChain

from controlplane.model import kinds
from controlplane.model.cluster_names import host_of
from controlplane.model.objects import ObjectKey
from controlplane.model.service import Service
from controlplane.registry.services import service_table
from controlplane.registry.store import View
from controlplane.translate.listeners.chains import Chain, TcpTarget, chain_match
from controlplane.translate.listeners.outbound_key import ListenerKey

_ORIGIN = re2.compile(r"/apis/[^/]+/v1/namespaces/([^/]+)/(virtual-service|sidecar)/([^/]+)")
_ORIGIN_KINDS = {"virtual-service": kinds.VIRTUAL_SERVICE, "sidecar": kinds.SIDECAR}


def behind_outbound_listener(view: View, key: ListenerKey) -> Iterator[ObjectKey | None]:
    """Yield the objects that an outbound listener is there for: services by their address or port, and what routes.

    Of one for HTTP these are the services with that port, of one for bytes those that its chains lead to. They come in
    no order, perhaps twice; ``None`` stands for an object that was looked at, so that the caller may pause after each.
    """
    return _behind(view, key, key.chains)


def behind_chain(view: View, key: ListenerKey, part: object) -> tuple[ObjectKey, ...]:
    """Return the objects that one chain of a listener is there for; those of the whole listener for anything else."""
    chains: Sequence[Chain] = key.chains
    if isinstance(part, FilterChain):
        chains = [each for each in chains if chain_match(each) == part.filter_chain_match]
    return tuple(sorted({found for found in _behind(view, key, chains) if found is not None}))


def _behind(view: View, key: ListenerKey, chains: Sequence[Chain]) -> Iterator[ObjectKey | None]:
    yield from origins(chains)
    targets = [each.target for each in chains if isinstance(each.target, TcpTarget)]
    hosts = {host_of(name) for target in targets for name, _ in target.clusters}
    has_http = any(each.is_http for each in chains)
    for service in _services(view):
        on_port = has_http and any(port.number == key.port and port.protocol.routes_http for port in service.ports)
        yield service.key.object if on_port or service.hostname in hosts else None


def origins(chains: Iterable[Chain]) -> Iterator[ObjectKey]:
    """Yield the objects that chains come from, as far as they say it."""
    for each in chains:
        if (found := _ORIGIN.fullmatch(each.origin)) is not None:
            yield ObjectKey(_ORIGIN_KINDS[found[2]], found[1], found[3])


def _services(view: View) -> Iterator[Service]:
    table = service_table(view, ())
    return chain(table.public, *table.private.values())
