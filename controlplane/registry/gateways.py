"""Gateways: which of them a gateway proxy serves, and how their servers share ports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.apis.gateway import Gateway, Server, ServerTLSMode
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.proxy import OWN_PORTS
from controlplane.model.proxy_class import InboundTarget, LabelPairs
from controlplane.model.service import Protocol
from controlplane.registry.environment import GATEWAYS_BY_NAMESPACE, enabled
from controlplane.registry.services import services_of
from controlplane.registry.store import View

#: host names of the services whose proxies serve a Gateway that was made from the Gateway API
SERVICE_ANNOTATION = "internal.istio.io/gateway-service"
PARENT_NAMESPACE_ANNOTATION = "internal.istio.io/parent-namespace"
SEMANTICS_ANNOTATION = "internal.istio.io/gateway-semantics"
MANAGED_ANNOTATION = "internal.istio.io/service-account-name"
#: on a service: its port numbers are not translated to target ports
NO_TRANSLATION_LABEL = "experimental.istio.io/disable-gateway-port-translation"
_EVERYWHERE = frozenset({"", "0.0.0.0", "::", "127.0.0.1", "::1"})  # noqa: S104 - compared, nothing listens
_PASSTHROUGH = frozenset({ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH})


class GatewayKey(NamedTuple):
    """A gateway proxy as far as Gateways tell proxies apart: where it is, its labels, its services' ports.

    ``udp`` are the UDP ports at which its services take HTTP/3.
    """

    namespace: str
    labels: LabelPairs
    targets: tuple[InboundTarget, ...]
    udp: frozenset[int] = frozenset()


class ServerPort(NamedTuple):
    """Servers with the same port of the proxy, protocol (as written) and address share a listener's chains."""

    number: int
    protocol: str
    bind: str

    @property
    def is_http(self) -> bool:
        """Whether the servers speak HTTP in plain text."""
        return Protocol.parse(self.protocol).is_http


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """One server of one Gateway on one port of the proxy.

    ``name`` is the Gateway's ``namespace/name``. ``hosts`` have ``.`` resolved and ``*/`` dropped. ``port`` is the
    port the proxy listens on. ``route`` is the name of its route configuration, empty where it has none.
    """

    server: Server
    gateway: ObjectKey
    name: str
    hosts: tuple[str, ...]
    port: int
    route: str = ""

    @property
    def is_tls(self) -> bool:
        """Whether the bytes on the port are TLS; a server that only redirects to HTTPS speaks plain HTTP."""
        return self.server.tls is not None and not Protocol.parse(self.server.port.protocol).is_http

    @property
    def passes_tls_through(self) -> bool:
        """Whether TLS is left to the service behind."""
        return self.is_tls and self.server.tls is not None and self.server.tls.mode in _PASSTHROUGH

    @property
    def terminates_https(self) -> bool:
        """Whether TLS ends here and HTTP is inside."""
        protocol = Protocol.parse(self.server.port.protocol)
        return self.is_tls and protocol is Protocol.HTTPS and not self.passes_tls_through

    @property
    def routes_http(self) -> bool:
        """Whether requests are routed: plain HTTP or HTTPS that ends here."""
        return Protocol.parse(self.server.port.protocol).is_http or self.terminates_https

    def speaks_http3(self, udp: frozenset[int]) -> bool:
        """Whether the server takes HTTP/3 too: not where callers must show a certificate: none is asked for."""
        tls = self.server.tls
        open_to_all = tls is not None and tls.mode in {ServerTLSMode.SIMPLE, ServerTLSMode.OPTIONAL_MUTUAL}
        return open_to_all and self.terminates_https and self.server.port.number in udp

    @property
    def sni_hosts(self) -> tuple[str, ...]:
        """The host names without namespaces, each once, sorted."""
        return tuple(sorted({host.partition("/")[2] or host for host in self.hosts}))


@dataclass(frozen=True, slots=True)
class MergedGateway:
    """All servers that a proxy serves. ``rejected`` names the Gateways some server of which had to give way."""

    servers: Mapping[ServerPort, tuple[GatewayServer, ...]] = field(default_factory=dict)
    servers_by_route: Mapping[str, tuple[GatewayServer, ...]] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    places: Mapping[int, list[ServerPort]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note which of ``servers`` there are at each port, in their order, which makes a difference."""
        places: dict[int, list[ServerPort]] = {}
        for place in self.servers:
            places.setdefault(place.number, []).append(place)
        object.__setattr__(self, "places", places)

    @property
    def forwards(self) -> bool:
        """Whether mutual TLS between proxies passes through to the services that it is for."""
        held = (server.server.tls for servers in self.servers.values() for server in servers)
        return any(tls is not None and tls.mode is ServerTLSMode.AUTO_PASSTHROUGH for tls in held)


@query
def merged_gateway(view: View, key: GatewayKey) -> MergedGateway:
    """Return the servers of all Gateways that apply to a proxy, oldest Gateway first; it wins conflicts."""
    merge = Merge()
    rejected: dict[str, None] = {}
    for obj, targets in _strict(list(_applying(view, key))):
        for server in obj.spec.servers:
            for port in _ports(view, server, obj, targets):
                if port in OWN_PORTS and server.bind in _EVERYWHERE:
                    continue  # taken before any listener of ours
                held = gateway_server(obj, server, port)
                if merge.add(held) is not None:
                    rejected[held.name] = None
    return MergedGateway(
        {port: tuple(servers) for port, servers in merge.servers.items()},
        {route: tuple(servers) for route, servers in merge.by_route.items()},
        tuple(rejected),
    )


def gateways(view: View) -> Iterator[Object]:
    """Yield all Gateways: those stated as such, and those that objects of foreign kinds are."""
    for key in view.keys(kinds.GATEWAY):
        obj = view.get(key)
        if obj is not None:
            yield obj
    for derived in view.frontends.gateways:
        yield from derived(view, ())


def _applying(view: View, key: GatewayKey) -> Iterator[tuple[Object, tuple[InboundTarget, ...]]]:
    """Yield the Gateways that apply, oldest first, with the service ports that translate their ports."""
    own = enabled(view, GATEWAYS_BY_NAMESPACE)
    for obj in sorted(gateways(view), key=lambda obj: obj.age_order):
        spec: Gateway = obj.spec
        if own and obj.meta.namespace != key.namespace:
            continue
        stated = obj.meta.annotations.get(SERVICE_ANNOTATION, "")
        if stated:
            namespace = obj.meta.annotations.get(PARENT_NAMESPACE_ANNOTATION) or obj.meta.namespace
            hosts = {host.strip() for host in stated.split(",")}
            targets = tuple(t for t in key.targets if t.service.hostname in hosts and t.service.namespace == namespace)
            if targets:
                yield obj, targets
        elif spec.selector.items() <= key.labels:
            yield obj, key.targets


def _strict(
    held: list[tuple[Object, tuple[InboundTarget, ...]]],
) -> Iterable[tuple[Object, tuple[InboundTarget, ...]]]:
    """Keep Gateways of other namespaces out of a proxy that the Gateway API manages."""
    managed = {
        obj.meta.namespace
        for obj, _ in held
        if obj.meta.annotations.get(SEMANTICS_ANNOTATION) == "gateway" and MANAGED_ANNOTATION in obj.meta.annotations
    }
    if not managed:
        return held
    return [
        (obj, targets)
        for obj, targets in held
        if obj.meta.namespace in managed or obj.meta.annotations.get(SEMANTICS_ANNOTATION) == "gateway"
    ]


def _ports(view: View, server: Server, obj: Object, targets: tuple[InboundTarget, ...]) -> tuple[int, ...]:
    """Return the ports that the proxy listens on for a server's port: those its services send that port to."""
    number = server.port.number
    matching = [target for target in targets if target.port == number]
    if SERVICE_ANNOTATION in obj.meta.annotations:
        return tuple(dict.fromkeys(target.target_port for target in matching))
    for target in matching:
        found = (held for held in services_of(view, target.service.object) if held.key == target.service)
        service = next(found, None)
        if service is not None and NO_TRANSLATION_LABEL not in service.labels:
            return (target.target_port,)
    return (number,)


def gateway_server(obj: Object, server: Server, port: int) -> GatewayServer:
    """Return one server of a Gateway on one port of a proxy."""
    return GatewayServer(
        server=server,
        gateway=obj.key,
        name=f"{obj.meta.namespace}/{obj.meta.name}",
        hosts=sanitised_hosts(server.hosts, obj.meta.namespace),
        port=port,
        route=route_name(server, port, obj.key),
    )


def sanitised_hosts(hosts: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Resolve the namespace part of a server's hosts: ``.`` is the Gateway's own, ``*`` any and dropped."""
    result = []
    for text in hosts:
        part, slash, host = text.partition("/")
        if text == "*/*":
            return ("*",)
        if not slash:
            result.append(text)
        elif part == ".":
            result.append(f"{namespace}/{host}")
        else:
            result.append(host if part == "*" else text)
    return tuple(result)


def route_name(server: Server, port: int, gateway: ObjectKey) -> str:
    """Return the name of a server's route configuration; empty where it routes connections, not requests.

    Plain HTTP shares one configuration a port of the proxy. HTTPS has one a server, named after the Gateway's port.
    """
    protocol = Protocol.parse(server.port.protocol)
    bind = f".{server.bind}" if server.bind else ""
    if protocol.is_http:
        return f"http.{port}{bind}"
    if protocol is Protocol.HTTPS and server.tls is not None and server.tls.mode not in _PASSTHROUGH:
        return f"https.{server.port.number}.{server.port.name}.{gateway.name}.{gateway.namespace}{bind}"
    return ""


class Merge:
    """The servers accepted so far. Envoy refuses two equal chains, so who comes second may have to go."""

    def __init__(self) -> None:
        self.servers: dict[ServerPort, list[GatewayServer]] = {}
        self.by_route: dict[str, list[GatewayServer]] = {}
        self._plain: dict[int, ServerPort] = {}
        self._seen: set[int] = set()
        self._tls_hosts: dict[tuple[int, str, str], ObjectKey] = {}
        self._joined: dict[tuple[int, str], ObjectKey] = {}

    def add(self, held: GatewayServer) -> ObjectKey | None:
        """Accept a server, or return the Gateway that it has to give way to."""
        winner = self._owner_of_hosts(held)
        return winner if winner is not None else self._place(held)

    def _owner_of_hosts(self, held: GatewayServer) -> ObjectKey | None:
        """Return who has one of these hosts with TLS already; take them where nobody has."""
        if held.server.tls is None:
            return None
        hosts = [(held.port, held.server.bind, host) for host in held.hosts]
        winner = next((self._tls_hosts[host] for host in hosts if host in self._tls_hosts), None)
        if winner is None:
            self._tls_hosts |= dict.fromkeys(hosts, held.gateway)
        return winner

    def _place(self, held: GatewayServer) -> ObjectKey | None:
        place = ServerPort(held.port, held.server.port.protocol, held.server.bind)
        if held.port not in self._seen:
            self._seen.add(held.port)
            if not held.is_tls:
                self._plain[held.port] = place
            if held.routes_http:
                self.by_route[held.route] = [held]
            self.servers[place] = [held]
            return None
        owner = self._plain.get(held.port)
        if owner is not None:
            return self._join_plain(held, place, owner)
        if held.routes_http and held.route in self.by_route:
            return self.by_route[held.route][0].gateway
        joined = self._joined.get((held.port, place.bind))
        self._joined.setdefault((held.port, place.bind), held.gateway)
        if joined is not None and held.server.tls is None:
            return joined  # plain text may be the second on a port of TLS, not the third
        if held.routes_http:
            self.by_route[held.route] = [held]
        self.servers.setdefault(place, []).append(held)
        return None

    def _join_plain(self, held: GatewayServer, place: ServerPort, owner: ServerPort) -> ObjectKey | None:
        """Share a port that somebody has in plain text: HTTP joins HTTP, everything else needs another address."""
        if owner.bind == place.bind:
            if not (place.is_http and owner.is_http) or not held.route:
                return self.servers[owner][0].gateway
            self.servers[owner].append(held)
        else:
            self.servers.setdefault(place, []).append(held)
        if held.route:
            self.by_route.setdefault(held.route, []).append(held)
        return None
