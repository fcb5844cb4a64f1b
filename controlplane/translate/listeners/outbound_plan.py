"""Which outbound listeners a client has, and what each is made of.

Services are taken in the order of the client's egress listeners; who comes first decides what an address and port is
(see ``conflicts``). The result is a tuple of keys (see ``outbound_key``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from controlplane.apis.sidecar import CaptureMode, IstioEgressListener
from controlplane.documents.words import is_portable_ip
from controlplane.engine.recording import query
from controlplane.model.cluster_names import BLACK_HOLE, PASSTHROUGH
from controlplane.model.proxy import LISTENER_PORTS, OWN_PORTS
from controlplane.model.proxy_class import NO_SPANS, ClientScope
from controlplane.model.service import Protocol, Resolution, Service, ServicePort
from controlplane.registry.aliases import aliases
from controlplane.registry.audience import listening
from controlplane.registry.endpoints import known_endpoints
from controlplane.registry.mesh import Ports, ports
from controlplane.registry.reachable import resolves_by_request
from controlplane.registry.scopes import EgressKey, EgressListener, EgressScope, OutboundPolicy, level4_scope
from controlplane.registry.store import View
from controlplane.registry.virtual_services import ResolvedVirtualService
from controlplane.translate.listeners.addresses import UNSPECIFIED, alternate_names, reachable, service_places
from controlplane.translate.listeners.chains import Chain, HttpTarget, apart
from controlplane.translate.listeners.conflicts import Kind, ListenerEntry, kind_of, settled
from controlplane.translate.listeners.outbound_key import ListenerKey, ListenerScope
from controlplane.translate.listeners.overlaps import Overlaps
from controlplane.translate.listeners.tcp_routes import Client, Port, service_chains

UNIX = "unix://"
HTTP_PROXY_ROUTES = "http_proxy"
ALLOW_ANY_DYNAMIC_DNS = "ALLOW_ANY_DYNAMIC_DNS"
_LAST_PRIVILEGED_PORT = 1023


def outbound_listener_keys(view: View, client: ClientScope) -> tuple[ListenerKey, ...]:
    """Return the keys of the outbound listeners that proxies of this class hold, sorted by name."""
    keys = _planned_keys(view, replace(listening(view, client), own_ips=frozenset()))
    if not client.own_ips:
        return keys
    # what a proxy sends to its own address never leaves the pod; planned without it, all replicas share a plan
    return tuple(key for key in keys if not (key.of_endpoint and key.bind in client.own_ips))


@query
def _planned_keys(view: View, client: ClientScope) -> tuple[ListenerKey, ...]:
    """Return the keys of a client's outbound listeners; only what listeners depend on may be set in the scope."""
    places = ports(view, ())
    if places.outbound <= 0:
        return ()
    plan = _Plan(view, places, client)
    keys = [*plan.service_listeners(), *plan.proxy_listener()]
    if client.interception != "NONE":
        keys.append(plan.virtual_outbound())
    return tuple(sorted(keys, key=lambda key: key.name))


def unmatched_cluster(policy: OutboundPolicy) -> str:
    """Return the cluster for traffic to destinations nobody knows."""
    if policy.mode == "REGISTRY_ONLY":
        return BLACK_HOLE
    return policy.egress_proxy or PASSTHROUGH


class _Wanted(NamedTuple):
    """One port of one service that wants a listener; ``bind`` empty leaves the address to the service.

    ``address`` is the one of the service's addresses that this is about, each of which is listened for on its own.
    """

    listener: EgressListener
    service: Service
    port: ServicePort
    bind: str
    bind_to_port: bool
    prefixes: tuple[str, ...] = ()
    address: str = UNSPECIFIED
    additional: tuple[str, ...] = ()


class _Plan:
    """The entries of addresses and ports, one service after the other."""

    def __init__(self, view: View, places: Ports, client: ClientScope) -> None:
        self.view = view
        self.ports = places
        self.client = client
        self.egress: EgressScope = level4_scope(view, EgressKey(client.namespace, client.sidecar))
        self.routing = Client.of(view, client, self.egress.by_host)
        self.resolves = resolves_by_request(view, EgressKey(client.namespace, client.sidecar))
        self.entries: dict[tuple[str, int], ListenerEntry] = {}
        self.endpoint_places: set[tuple[str, int]] = set()
        self.scope = ListenerScope(
            client.istio,
            client.http10,
            client.idle_timeout,
            client.exact_balance,
            client.settings,
            client.detects_http10,
            client.telemetry,
            client.spans,
            extensions=client.extensions,
        )
        self.reserved = LISTENER_PORTS | {places.outbound, places.inbound}
        self._allocated = self._allocated_by_host() if client.dns_capture else {}
        self._overlapping: tuple[Sequence[ResolvedVirtualService], Overlaps] | None = None  # of one egress listener

    def service_listeners(self) -> Iterator[ListenerKey]:
        for listener in self.egress.listeners:
            if listener.spec is not None and listener.spec.port is not None:
                self._add_stated(listener, listener.spec)
            else:
                self.entries = {address: replace(entry, locked=True) for address, entry in self.entries.items()}
                self._add_all(listener)
        unmatched = unmatched_cluster(self.egress.outbound_policy)
        taken = set(self.entries)
        for (bind, port), entry in self.entries.items():
            additional = tuple(address for address in self._additional(bind, entry) if (address, port) not in taken)
            taken.update((address, port) for address in additional)  # Envoy takes each address of a port once
            yield self._key(bind, port, replace(entry, additional=additional), unmatched)

    def _additional(self, bind: str, entry: ListenerEntry) -> tuple[str, ...]:
        """Return the addresses of a listener beside the one it is named after: of the other family, of one host."""
        both = self.client.ipv4 and self.client.ipv6
        if bind == self.client.wildcard and both and not entry.bind_to_port:
            return ("::",)
        if bind == self.client.localhost and self.client.dual_stack:
            return ("::1",)
        return entry.additional

    def _key(self, bind: str, port: int, entry: ListenerEntry, unmatched: str) -> ListenerKey:
        chains = apart(entry.chains) if len(entry.chains) > 1 else entry.chains
        takes_all = any(chain.matches_all for chain in chains)
        return ListenerKey(
            name=f"{bind}_{port}",
            bind=bind,
            port=port,
            scope=self._scope(entry),
            chains=chains,
            unmatched="" if takes_all else unmatched,
            bind_to_port=entry.bind_to_port,
            of_endpoint=(bind, port) in self.endpoint_places,
            additional=entry.additional,
        )

    def _allocated_by_host(self) -> dict[str, tuple[str, ...]]:
        """Return the automatic addresses of each host name: a client is told those of all its ServiceEntries."""
        found: dict[str, dict[str, None]] = {}
        for listener in self.egress.listeners:
            for service in listener.services:
                if service.auto_addresses and not service.addresses:
                    fitting = (address for address in service.auto_addresses if reachable(address, self.client))
                    found.setdefault(service.hostname, {}).update(dict.fromkeys(fitting))
        return {host: tuple(addresses) for host, addresses in found.items()}

    def _scope(self, entry: ListenerEntry) -> ListenerScope:
        """Leave out what the listener's chains do not depend on, so that more proxies share it."""
        has_http = any(chain.is_http for chain in entry.chains)
        return (
            self.scope
            if has_http
            else replace(self.scope, http10=False, settings="", detects_http10=False, spans=NO_SPANS)
        )

    def _add_stated(self, listener: EgressListener, spec: IstioEgressListener) -> None:
        """Add the one port that a Sidecar's egress listener states, for each service behind it."""
        assert spec.port is not None  # noqa: S101 - the caller has looked
        bind_to_port = self._binds(spec)
        bind = spec.bind or (self.client.localhost if bind_to_port else "")
        port = ServicePort(spec.port.number, spec.port.name, Protocol.parse(spec.port.protocol))
        if self._may_bind(bind, port, bind_to_port=bind_to_port):
            for service in listener.services:
                if service.resolution is not Resolution.ALIAS and service.handles(port):
                    self._add(_Wanted(listener, service, port, bind, bind_to_port))

    def _add_all(self, listener: EgressListener) -> None:
        """Add every port of every service of a listener without a port."""
        spec = listener.spec
        bind_to_port = self._binds(spec)
        bind = (spec.bind if spec is not None else "") or (self.client.localhost if bind_to_port else "")
        wildcard = self.client.wildcard
        for service in listener.services:
            if service.resolution is Resolution.ALIAS:
                continue
            for port in service.ports:
                if not bind and port.protocol.is_http:
                    held = self.entries.get((wildcard, port.number))
                    if held is not None and held.kind is Kind.AUTO:
                        continue  # shared by all HTTP services: nothing to add
                if not service.handles(port) or not self._may_bind(bind, port, bind_to_port=bind_to_port):
                    continue
                wanted = _Wanted(listener, service, port, bind, bind_to_port)
                if not bind and self._per_endpoint(service, port):
                    self._add_endpoints(wanted)
                else:
                    self._add(wanted)

    def _binds(self, spec: IstioEgressListener | None) -> bool:
        """Whether listeners are really bound; nothing can be captured for a proxy without interception."""
        return self.client.interception == "NONE" or (spec is not None and spec.capture_mode is CaptureMode.NONE)

    def _may_bind(self, bind: str, port: ServicePort, *, bind_to_port: bool) -> bool:
        """Whether the port can be listened on: not privileged without the right, not one of the proxy's own."""
        if bind_to_port and self.client.unprivileged and 0 < port.number <= _LAST_PRIVILEGED_PORT:
            return False
        if bind_to_port and port.number in OWN_PORTS:
            return False
        everywhere = bind == self.client.wildcard or (not bind and port.protocol.is_http)
        return not (everywhere and port.number in self.reserved)

    def _per_endpoint(self, service: Service, port: ServicePort) -> bool:
        """Whether the service has no address, so that bytes for it are told apart by the address of each endpoint."""
        if service.resolution is not Resolution.PASSTHROUGH or port.protocol.is_http:
            return False
        if service_places(service, self.client)[0].address != UNSPECIFIED:
            return False
        stays_wildcard = not service.kubernetes and service.selector is None
        return not stays_wildcard or bool(self._endpoint_addresses(service, port))

    def _endpoint_addresses(self, service: Service, port: ServicePort) -> list[str]:
        found = known_endpoints(self.view, service.hostname, service.namespace)
        return [endpoint.address for endpoint in found if endpoint.serves(port)]

    def _add_endpoints(self, wanted: _Wanted) -> None:
        for address in self._endpoint_addresses(wanted.service, wanted.port):
            if is_portable_ip(address):
                if (address, wanted.port.number) not in self.entries:
                    self.endpoint_places.add((address, wanted.port.number))
                self._settle(wanted._replace(bind=address))

    def _add(self, wanted: _Wanted) -> None:
        """Add one port for one service; without ``bind`` at the service's own addresses, or at all for HTTP."""
        if not wanted.bind and wanted.port.protocol.is_http:
            self._settle(wanted._replace(bind=self.client.wildcard))
            return
        shared = self._allocated.get(wanted.service.hostname, ())
        for address, additional in service_places(wanted.service, self.client, shared):
            ranged = "/" in address
            if wanted.bind:
                self._settle(wanted._replace(address=address))
            elif ranged or address == UNSPECIFIED:
                if wanted.port.number in self.reserved:
                    continue  # the listener would have the address of one of the proxy's own
                prefixes = (address,) if ranged else ()
                self._settle(wanted._replace(bind=self.client.wildcard, prefixes=prefixes, address=address))
            else:
                self._settle(wanted._replace(bind=address, address=address, additional=additional))

    def _settle(self, wanted: _Wanted) -> None:
        port = wanted.port
        place = (wanted.bind, port.number)
        held = self.entries.get(place)
        if held is not None and held.locked:
            return
        kind = kind_of(port.protocol)
        wildcard = wanted.bind == self.client.wildcard
        chains: tuple[Chain, ...] = ()
        if kind is not Kind.HTTP:
            stated = Port(port.number, port.protocol, wanted.prefixes)
            level4 = self._level4(wanted.listener, wanted.service)
            chains = service_chains(self.routing, wanted.service, stated, level4, self._server_names(wanted))
        if kind is not Kind.TCP:
            http = self._http_chain(wanted.service, port, wanted.bind)
            if kind is Kind.AUTO or wildcard:
                http = http.for_plain_http(http10=self.client.detects_http10)
            chains = (*chains, http)
        if held is None and wildcard and kind is Kind.HTTP:
            kind = Kind.AUTO  # what is not HTTP passes on, so bytes may join
        entry = settled(held, ListenerEntry(kind, port.protocol, chains, wanted.bind_to_port))
        additional = dict.fromkeys((*(held.additional if held is not None else ()), *wanted.additional))
        self.entries[place] = replace(entry, additional=tuple(additional)) if additional else entry

    def _http_chain(self, service: Service, port: ServicePort, bind: str) -> Chain:
        if port.number == 0:
            route = bind
        elif port.protocol is Protocol.AUTO and bind != self.client.wildcard:
            route = f"{service.hostname}:{port.number}"
        else:
            route = str(port.number)
        return Chain(HttpTarget(route, grpc_web=port.protocol is Protocol.GRPC_WEB, resolves=self.resolves))

    def _level4(self, listener: EgressListener, service: Service) -> list[ResolvedVirtualService]:
        held = listener.virtual_services
        if not held:
            return []
        if self._overlapping is None or self._overlapping[0] is not held:
            self._overlapping = held, Overlaps(held)
        return self._overlapping[1].of(service.hostname)

    def _server_names(self, wanted: _Wanted) -> tuple[str, ...]:
        """Return the names that tell TLS services apart where they share an address."""
        service = wanted.service
        if not wanted.port.protocol.is_tls:
            return ()
        shares_wildcard = wanted.address == UNSPECIFIED and wanted.bind == self.client.wildcard
        if not ("/" in wanted.address or shares_wildcard):
            return ()
        names = [service.hostname]
        imported = wanted.listener.services
        for alias in aliases(self.view, self.client.namespace).get(service.hostname, ()):
            if wanted.listener.spec is None or alias in imported:
                names += [alias.hostname, *alternate_names(alias.hostname, self.client.domain)]
        return tuple(names)

    def proxy_listener(self) -> Iterator[ListenerKey]:
        """The listener that applications use as an HTTP proxy, where the mesh or the proxy asks for one."""
        port = self.client.http_proxy_port or self.ports.http_proxy
        if port > 0:
            bind = self.client.localhost
            chain = Chain(HttpTarget(HTTP_PROXY_ROUTES, resolves=self.resolves))
            yield ListenerKey(
                name=f"{bind}_{port}",
                bind=bind,
                port=port,
                scope=self.scope,
                chains=(chain,),
                bind_to_port=True,
                proxy=True,
                additional=("::1",) if self.client.dual_stack else (),
            )

    def virtual_outbound(self) -> ListenerKey:
        """The listener that all captured connections arrive at, and those nobody else takes stay in."""
        return ListenerKey(
            name="virtualOutbound",
            bind=self.client.wildcard,
            port=self.ports.outbound,
            scope=ListenerScope(
                self.scope.istio,
                idle_timeout=self.scope.idle_timeout,
                detects_http10=self.resolves and self.client.detects_http10,
                telemetry=self.scope.telemetry,
                spans=self.scope.spans if self.resolves else NO_SPANS,
            ),
            unmatched=unmatched_cluster(self.egress.outbound_policy),
            virtual=True,
            additional=("::",) if self.client.dual_stack else (),
            transparent=self.client.interception == "TPROXY",
            resolves=self.egress.outbound_policy.mode == ALLOW_ANY_DYNAMIC_DNS,
        )
