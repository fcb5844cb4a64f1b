"""Both proxies of a call: what the caller's does, what the server's does then, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from controlplane.model.proxy import Proxy
from controlplane.registry.store import View
from controlplane.registry.workloads import inbound_targets
from controlplane.simulate.asked import Asked
from controlplane.simulate.call import Call, Destination, Failure, Fate, Outcome, Place, Source, Step
from controlplane.simulate.mesh import MADE_UP, OUTSIDE, Mesh
from controlplane.simulate.telling import last_line, outcome_words

_OUTSIDE_CLIENT = "203.0.113.99"
_MOST_SERVERS = 4
_OF_HTTP = ("http/1.1",)


@dataclass(frozen=True, slots=True)
class Server:
    """A call at one endpoint: what its proxy does, ``None`` where it has none that is known."""

    destination: str
    place: Place
    share: Fraction
    proxy: str
    outcome: Outcome

    def words(self) -> dict[str, Any]:
        """Return what JSON says of it."""
        return {
            "cluster": self.destination,
            "endpoint": self.place.address,
            "proxy": self.proxy,
            "steps": [step.words() for step in self.outcome.steps],
            "outcome": outcome_words(self.outcome),
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of one request.

    ``resolved`` says what DNS made of the host, ``connected`` whether the proxy is really there.
    """

    proxy: Proxy
    revision: int
    asked: Asked
    outcome: Outcome
    servers: tuple[Server, ...] = ()
    resolved: Step | None = None
    connected: bool = False

    @property
    def failure(self) -> Failure | None:
        """Why some of the requests fail, ``None`` where none does: the caller's proxy first."""
        held = (self.outcome.failure, *(each.failure for each in self.outcome.destinations))
        served = (server.outcome.failure for server in self.servers)
        return next((each for each in (*held, *served) if each is not None), None)

    def words(self) -> dict[str, Any]:
        """Return what JSON says of it."""
        steps = ([self.resolved] if self.resolved is not None else []) + list(self.outcome.steps)
        return {
            "proxy": {
                "id": self.proxy.id,
                "type": self.proxy.type,
                "namespace": self.proxy.namespace,
                "connected": self.connected,
            },
            "revision": self.revision,
            "request": {"method": self.asked.method, "url": self.asked.url, "headers": dict(self.asked.headers)},
            "steps": [step.words() for step in steps],
            "outcome": outcome_words(self.outcome),
            "servers": [server.words() for server in self.servers],
            "fails": self.failure is not None,
            "result": last_line(self.outcome, [(server.place, server.outcome) for server in self.servers]),
        }


async def explained(mesh: Mesh, asked: Asked, proxy: Proxy | None = None) -> Explanation:
    """Explain what becomes of a request; ``proxy`` is whom it comes from, where that is known already.

    Raises:
        UnknownProxyError: whom it comes from is not known.
        BadRequestError: it is none.
        UnsupportedError: it depends on something that is not known here.
    """
    proxy = proxy or mesh.proxy(asked.origin)
    held = await mesh.held(proxy)
    call, resolved = _call(mesh, asked, proxy)
    if proxy.ips[0] == MADE_UP == call.address:  # nobody knows where it is, so it is called where it listens
        call = replace(call, address=held.bound_at(call.port) or call.address)
    outcome = held.outbound(call)
    servers = [server async for server in _Servers(mesh, asked, proxy, call).of(outcome)]
    connected = mesh.is_connected(proxy)
    return Explanation(proxy, mesh.registry.revision, asked, outcome, tuple(servers), resolved, connected)


def _call(mesh: Mesh, asked: Asked, proxy: Proxy) -> tuple[Call, Step | None]:
    """Return the call as it reaches the proxy, and what DNS said where that is worth a line."""
    resolved, port = None, asked.port
    if proxy.type == "router":
        address, source = proxy.ips[0], asked.source or _OUTSIDE_CLIENT
        port = _listened(mesh, proxy, port)
        if port != asked.port:
            resolved = Step("port", str(port), note=f"the gateway's Service leads {asked.port} there")
    else:
        address, source = mesh.address(asked.host, proxy.namespace), asked.source or proxy.ips[0]
        if address == OUTSIDE:
            known = "its object has no address"
            if not any(mesh.named(asked.host, proxy.namespace)):
                known = f"no object has it{mesh.nearest_hosts(asked.host, proxy.namespace)}"
            resolved = Step("name", asked.host, note=f"{known}; taken to be an address outside the mesh")
        elif address != asked.host:
            named = next(mesh.named(asked.host, proxy.namespace), None)
            resolved = Step("name", f"{asked.host} is {address}", Source(named.key.object) if named else None)
    return Call(
        address,
        port,
        http=asked.http,
        tls=asked.tls,
        server_name=asked.host if asked.tls and not asked.host.replace(".", "").isdigit() else "",
        alpn=_OF_HTTP if asked.tls and asked.http else (),
        identity=_identity(mesh, asked.identity) if proxy.type == "router" else "",
        host=asked.authority,
        method=asked.method,
        path=asked.path,
        headers={name: value for name, value in asked.headers.items() if name != "host"},
        source=source,
    ), resolved


def _identity(mesh: Mesh, stated: str) -> str:
    """Return a SPIFFE id for ``sa/NAMESPACE/NAME``, anything else as it is."""
    kind, _, rest = stated.partition("/")
    namespace, slash, name = rest.partition("/")
    return mesh.account(namespace, name) if kind == "sa" and slash and "://" not in stated else stated


def _listened(mesh: Mesh, proxy: Proxy, port: int) -> int:
    """Return the port of a gateway's pod that a port of its Service leads to."""
    for target in inbound_targets(View(mesh.registry), proxy):
        if target.port == port:
            return target.target_port
    return port


class _Servers:
    """Follows a call to the proxies of its servers."""

    def __init__(self, mesh: Mesh, asked: Asked, proxy: Proxy, call: Call) -> None:
        self._mesh = mesh
        self._asked = asked
        self._proxy = proxy
        self._call = call
        self._identity = _identity(mesh, asked.identity) if proxy.type != "router" else ""
        self._identity = self._identity or mesh.identity(proxy)

    async def of(self, outcome: Outcome) -> Any:  # noqa: ANN401 - an asynchronous iterator of Server
        """Yield what happens at a few servers of each destination: one of each workload."""
        for destination in outcome.destinations:
            for place in _one_of_each(destination):
                server = await self._at(destination, place)
                if server is not None:
                    yield server

    async def _at(self, to: Destination, place: Place) -> Server | None:
        host, _, port = place.address.rpartition(":")
        address = host.strip("[]")
        share = to.share * place.share
        proxy = self._mesh.server(address) if host else None
        if proxy is None:
            failure = self._without_proxy(to, place, address)
            if failure is None:
                return None
            return Server(to.cluster, place, share, "", Outcome(failure.fate, failure=failure))
        if (wrong := self._wrong_name(to, place, proxy)) is not None:
            return Server(to.cluster, place, share, proxy.id, Outcome(wrong.fate, failure=wrong))
        outcome = (await self._mesh.held(proxy)).inbound(self._arriving(to, place, address, int(port)))
        return Server(to.cluster, place, share, proxy.id, _as_the_caller_sees(outcome))

    def _arriving(self, to: Destination, place: Place, address: str, port: int) -> Call:
        """Return the call as it reaches the server's proxy."""
        passes = not place.tls and self._call.tls and self._proxy.type != "router"
        http = self._call.http and (not self._call.tls or self._proxy.type == "router")
        alpn = to.alpn if place.tls else self._call.alpn if passes else ()
        return replace(
            self._call,
            address=address,
            port=port,
            http=http or (passes and self._call.http),
            tls=bool(place.tls) or passes,
            server_name=to.server_name if place.tls else self._call.server_name if passes else "",
            alpn=alpn,
            identity=self._identity if place.tls == "mutual" else "",
            host=to.host or self._call.host,
            path=to.path or self._call.path,
            source=self._proxy.ips[0],
        )

    def _without_proxy(self, to: Destination, place: Place, address: str) -> Failure | None:
        """Return why a server without a proxy cannot be spoken to: a pod that is to end mutual TLS."""
        mesh_tls = place.tls == "mutual" and any(name.startswith("spiffe://") for name in to.names)
        if not mesh_tls or not self._mesh.is_pod(address):
            return None
        reason = f"mutual TLS is wanted, and the pod at {place.address} has no proxy to end it"
        return Failure(Fate.TLS_ERROR, reason, 503, "UF")

    def _wrong_name(self, to: Destination, place: Place, server: Proxy) -> Failure | None:
        """Return why the caller refuses the server's certificate."""
        if place.tls != "mutual" or not to.names:
            return None
        own = self._mesh.identity(server)
        for name in to.names:
            if (name.startswith("prefix:") and own.startswith(name.removeprefix("prefix:"))) or name == own:
                return None
        reason = f"the server is {own}, and {' or '.join(to.names)} is asked for"
        return Failure(Fate.TLS_ERROR, reason, 503, "UF")


def _one_of_each(destination: Destination) -> Iterator[Place]:
    """Yield one endpoint of each workload, a few of them."""
    seen: dict[str, Place] = {}
    for place in destination.used:
        _, _, rest = place.workload.partition(";")
        seen.setdefault(rest or place.address, place)
    yield from list(seen.values())[:_MOST_SERVERS]


def _as_the_caller_sees(outcome: Outcome) -> Outcome:
    """Return an outcome at a server with the failure that its caller gets for a closed connection."""
    failure = outcome.failure
    if failure is None or failure.status:
        return outcome
    flag = "UF" if failure.fate in {Fate.TLS_ERROR, Fate.NO_LISTENER} else "UC"
    return replace(outcome, failure=replace(failure, status=503, flag=flag))
