"""A small ADS client: follows a proxy's way from clusters to endpoints and from listeners to routes.

It asserts what the xDS protocol promises in every response, acknowledges each, and keeps what it was given.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, NamedTuple

import grpc
import grpc.aio
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.rpc.status_pb2 import Status

from tests.patience import PATIENCE_SECONDS, in_time, patience

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
MESSAGES = (Cluster, ClusterLoadAssignment, Listener, RouteConfiguration)
CDS, EDS, LDS, RDS = (f"type.googleapis.com/{message.DESCRIPTOR.full_name}" for message in MESSAGES)
END = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it
EFFECTS = {CDS: EDS, LDS: RDS}
DECODED = dict(zip((CDS, EDS, LDS, RDS), MESSAGES, strict=True))
NODE_ID = "sidecar~10.9.0.1~client-1.shop~shop.svc.cluster.local"
#: what a change may take on a machine that is busy elsewhere; it takes tens of milliseconds
EVENTUALLY_SECONDS = PATIENCE_SECONDS

Held = dict[str, dict[str, tuple[str, bytes]]]


class Variant(Enum):
    """The two forms of the protocol."""

    SOTW = "StreamAggregatedResources"
    DELTA = "DeltaAggregatedResources"


class Client:
    """One proxy. ``held`` is type URL -> name -> (version, bytes); SotW has one version for a whole response.

    A delta proxy that comes back says what it has: ``known``.
    """

    def __init__(self, variant: Variant, call: Any, node: Node, known: Held | None = None) -> None:
        self.held: Held = {url: dict((known or {}).get(url, {})) for url in DECODED}
        self.responses: list[str] = []
        self.ended = asyncio.Event()
        self._variant = variant
        self._call = call
        self._node: Node | None = node
        #: types of which it has said nothing yet on this stream
        self._silent = set(DECODED)
        self._nonces: set[str] = set()
        self._subscribed: defaultdict[str, set[str]] = defaultdict(set)
        self._versions: dict[str, str] = {}
        #: what changed clusters and listeners wait for, and may be told again; Envoy warms them with it
        self._warming: defaultdict[str, set[str]] = defaultdict(set)
        self._last: defaultdict[str, str] = defaultdict(str)
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._end = ""  # how the server ended the stream, where it gave a status

    async def until(self, holds: Callable[[], bool], what: str = "") -> None:
        """Wait for a condition on ``held``; fail with what is held where it does not come."""
        try:
            async with patience():
                while not holds():
                    self.check()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            names = {url.rpartition(".")[2]: sorted(resources) for url, resources in self.held.items()}
            ended = f"; the stream has ended: {self._end}" if self.ended.is_set() else ""
            raise AssertionError(f"{what or holds} did not come true; held: {names}{ended}") from None
        self.check()

    def copy(self) -> Held:
        """Return what is held now."""
        return {url: dict(resources) for url, resources in self.held.items()}

    def bodies(self) -> dict[str, dict[str, bytes]]:
        """Return what is held, without versions."""
        return {url: {name: body for name, (_, body) in resources.items()} for url, resources in self.held.items()}

    def message(self, url: str, name: str) -> Any:
        """Return one resource, decoded."""
        return DECODED[url].FromString(self.held[url][name][1])

    def has(self, url: str, name: str) -> bool:
        return name in self.held[url]

    @property
    def complete(self) -> bool:
        """Whether everything that clusters and listeners refer to is there."""
        wanted = self._wanted(EDS), self._wanted(RDS)
        return bool(self.held[CDS] and self.held[LDS]) and wanted == (set(self.held[EDS]), set(self.held[RDS]))

    async def refuse(self, url: str, message: str) -> None:
        """Refuse a response in Envoy's words; which one, a refusal need not say."""
        await self._ask(url, nonce="any", refusal=Status(code=grpc.StatusCode.INTERNAL.value[0], message=message))

    async def run(self) -> None:
        """Speak until the server ends the stream, or an assertion fails."""
        try:
            for url in (CDS, LDS):
                await self._ask(url, subscribe={"*"} if self._variant is Variant.DELTA else set())
                if self._wanted(EFFECTS[url]):
                    await self._subscribe(EFFECTS[url])
            while (response := await self._call.read()) is not END:
                await self._take(response)
                self._changed.set()
        except grpc.aio.AioRpcError as error:
            self._end = f"{error.code().name} {error.details()}"
            if error.code() not in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}:
                self._failure = error
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised in the test, which waits elsewhere
            self._failure = error
        finally:
            self.ended.set()
            self._changed.set()

    def check(self) -> None:
        """Raise what went wrong on the stream."""
        if self._failure is not None:
            raise self._failure

    async def _take(self, response: Any) -> None:
        url = response.type_url
        assert url in self._subscribed, f"nobody asked for {url}"
        assert response.nonce, "a response without a nonce cannot be acknowledged"
        assert response.nonce not in self._nonces, "a nonce names one response"
        self._nonces.add(response.nonce)
        self.responses.append(url)
        if self._variant is Variant.DELTA:
            self._take_delta(url, response)
        else:
            self._take_whole(url, response)
        await self._ask(url, nonce=response.nonce)
        effect = EFFECTS.get(url)
        if effect is not None and self._wanted(effect) != self._subscribed[effect]:
            await self._subscribe(effect)

    def _take_delta(self, url: str, response: DeltaDiscoveryResponse) -> None:
        names = [resource.name for resource in response.resources]
        assert len(names) == len(set(names)), "a resource is there once in a response"
        assert not set(names) & set(response.removed_resources), "either changed or removed"
        assert names or response.removed_resources or self.responses.count(url) == 1, "a response says something"
        for resource in response.resources:
            name = _checked_name(url, resource.resource)
            assert name == resource.name
            assert url in {CDS, LDS} or self._asked_for(url, name), f"{name} was not asked for"
            assert resource.version
            before = self.held[url].get(name)
            same = before is not None and before[0] == resource.version
            assert not same or self._may_come_again(url, name), f"{name} was sent again as it is"
            self._warming[url].discard(name)
            self.held[url][name] = (resource.version, resource.resource.value)
            if url in EFFECTS:
                self._warming[EFFECTS[url]].update(_references(url, resource.resource.value))
        for name in response.removed_resources:
            self.held[url].pop(name, None)

    def _take_whole(self, url: str, response: DiscoveryResponse) -> None:
        assert response.version_info
        names = [_checked_name(url, resource) for resource in response.resources]
        assert len(names) == len(set(names)), "a resource is there once in a response"
        assert url in {CDS, LDS} or all(self._asked_for(url, name) for name in names), "only what was asked for"
        found = {
            name: (response.version_info, resource.value)
            for name, resource in zip(names, response.resources, strict=True)
        }
        # CDS and LDS give the whole state; of the other types a response may hold only some of the names
        self.held[url] = found if url in {CDS, LDS} else self.held[url] | found
        self._versions[url] = response.version_info

    def _asked_for(self, url: str, name: str) -> bool:
        return name in self._subscribed[url]

    def _may_come_again(self, url: str, name: str) -> bool:
        """Whether a resource may be sent in the version that is held."""
        return name in self._warming[url]

    def _wanted(self, url: str) -> set[str]:
        """Return the names that the clusters or listeners held refer to."""
        cause = CDS if url == EDS else LDS
        return {name for _, body in self.held[cause].values() for name in _references(cause, body)}

    async def _subscribe(self, url: str) -> None:
        wanted, before = self._wanted(url), self._subscribed[url]
        self.held[url] = {name: body for name, body in self.held[url].items() if name in wanted}
        await self._ask(url, subscribe=wanted - before, unsubscribe=before - wanted)

    async def _ask(
        self,
        url: str,
        nonce: str = "",
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        refusal: Status | None = None,
    ) -> None:
        subscribe, unsubscribe = set(subscribe), set(unsubscribe)
        self._subscribed[url] = (self._subscribed[url] | subscribe) - unsubscribe
        node, self._node = self._node, None
        known = {name: version for name, (version, _) in self.held[url].items()} if url in self._silent else {}
        self._silent.discard(url)
        if self._variant is Variant.DELTA:
            request = DeltaDiscoveryRequest(
                node=node,
                type_url=url,
                response_nonce=nonce,
                resource_names_subscribe=sorted(subscribe),
                resource_names_unsubscribe=sorted(unsubscribe),
                initial_resource_versions=known,
                error_detail=refusal,
            )
        else:
            self._last[url] = nonce or self._last[url]
            request = DiscoveryRequest(
                node=node,
                type_url=url,
                response_nonce=self._last[url],
                version_info=self._versions.get(url, ""),
                resource_names=sorted(self._subscribed[url]),
                error_detail=refusal,
            )
        await self._call.write(request)


def _checked_name(url: str, resource: Any) -> str:
    """Return the name that a resource has in itself."""
    assert resource.type_url == url
    message = DECODED[url].FromString(resource.value)
    name: str = message.cluster_name if url == EDS else message.name
    assert name
    return name


def _references(url: str, body: bytes) -> Iterable[str]:
    """Yield the load assignment of a cluster or the route configurations of a listener."""
    if url == CDS:
        cluster = Cluster.FromString(body)
        if cluster.type == Cluster.EDS:
            yield cluster.eds_cluster_config.service_name or cluster.name
        return
    listener = Listener.FromString(body)
    chains = [*listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        for network_filter in chain.filters:
            if network_filter.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager.FromString(network_filter.typed_config.value)
                if manager.rds.route_config_name:
                    yield manager.rds.route_config_name


class Proof(NamedTuple):
    """What a proxy connects with over TLS: the roots that it trusts (PEM), and the token that it shows."""

    roots: str
    token: str
    server_name: str = "istiod.istio-system.svc"

    def channel(self, address: str) -> Any:
        """Return a channel that trusts these roots."""
        credentials = grpc.ssl_channel_credentials(self.roots.encode())
        return grpc.aio.secure_channel(address, credentials, [("grpc.ssl_target_name_override", self.server_name)])

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call has to say."""
        return (("authorization", f"Bearer {self.token}"),)


def stream(channel: Any, variant: Variant) -> Any:
    """Return the method of a channel that opens a stream."""
    types = {
        Variant.SOTW: (DiscoveryRequest, DiscoveryResponse),
        Variant.DELTA: (DeltaDiscoveryRequest, DeltaDiscoveryResponse),
    }
    request, response = types[variant]
    return channel.stream_stream(
        SERVICE + variant.value,
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )


@asynccontextmanager
async def connected(
    address: str,
    variant: Variant = Variant.DELTA,
    node_id: str = NODE_ID,
    proof: Proof | None = None,
    known: Held | None = None,
) -> AsyncIterator[Client]:
    """Connect a proxy and wait until it has everything; fail afterwards if a response broke the protocol.

    ``known`` is what it has from another stream.
    """
    async with proof.channel(address) if proof is not None else grpc.aio.insecure_channel(address) as channel:
        await in_time(channel.channel_ready())  # a call fails where the first attempt to connect does
        call = stream(channel, variant)(metadata=proof.metadata if proof is not None else ())
        client = Client(variant, call, Node(id=node_id), known)
        task = asyncio.create_task(client.run())
        try:
            await client.until(lambda: client.complete, "a complete configuration")
            yield client
            client.check()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
