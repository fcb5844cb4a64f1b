"""One proxy: the resources of a snapshot, and what becomes of a call in it, step by step in Envoy's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.simulate.arrival import Arrival
from controlplane.simulate.call import Call, Failure, Fate, Outcome, Step
from controlplane.simulate.chains import (
    HTTP_PROXY_ROUTES,
    INBOUND_CAPTURE,
    OUTBOUND_CAPTURE,
    filter_chain,
    outbound_listener,
    shown,
)
from controlplane.simulate.filters import network_policies
from controlplane.simulate.sending import Sending
from controlplane.simulate.serving import Serving
from controlplane.simulate.sources import Sources
from controlplane.snapshots import ResourceType, Snapshot

_PORT_TAG = b"\x18"
"""What stands before ``port_value`` in an encoded envoy.config.core.v3.SocketAddress."""
_CAPTURES = b"\x22\x02\x08\x01"
"""``use_original_dst``, set, in an encoded listener."""
_PROXY_ROUTES = HTTP_PROXY_ROUTES.encode()
_MOST_NAMED = 20
_INBOUND = 1
"""Of envoy.config.core.v3.TrafficDirection."""


class HeldProxy:
    """What one proxy holds. Messages are read when they are looked at, so that a large snapshot costs little."""

    def __init__(self, snapshot: Snapshot, sources: Sources | None = None) -> None:
        """Hold a snapshot; ``sources`` tell where elements come from, without them only what metadata says is told."""
        self._snapshot = snapshot
        self.sources = sources or Sources()

    def listeners(self, port: int) -> list[Any]:
        """Return the listeners that may have a port, and those that take what was meant for others."""
        number = _PORT_TAG + _varint(port)
        held = (resource.body for resource in self._snapshot.of(ResourceType.LISTENER).values())
        return [Listener.FromString(body) for body in held if number in body or _CAPTURES in body]

    def bound_at(self, port: int) -> str:
        """Return the address that a listener has a port at, empty where there is none; one at every address is one."""
        found = (each.address.socket_address for each in self.listeners(port))
        return next((each.address for each in found if each.port_value == port), "")

    def cluster(self, name: str) -> Any:  # noqa: ANN401 - Envoy's messages carry no types
        """Return a cluster, ``None`` where there is none of this name."""
        return self._message(ResourceType.CLUSTER, name, Cluster)

    def route_configuration(self, name: str) -> Any:  # noqa: ANN401 - Envoy's messages carry no types
        """Return a route configuration, ``None`` where there is none of this name."""
        return self._message(ResourceType.ROUTE, name, RouteConfiguration)

    def assignment(self, name: str) -> Any:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the endpoints of a cluster, ``None`` where there are none of this name."""
        return self._message(ResourceType.ENDPOINT, name, ClusterLoadAssignment)

    def cluster_names(self) -> Iterator[str]:
        """Yield the names of all clusters."""
        yield from self._snapshot.of(ResourceType.CLUSTER)

    def _message(self, type_: ResourceType, name: str, message: Any) -> Any:  # noqa: ANN401 - see above
        resource = self._snapshot.of(type_).get(name)
        return message.FromString(resource.body) if resource is not None else None

    def outbound(self, call: Call) -> Outcome:
        """Return what becomes of a call that leaves the application beside a sidecar, or that reaches a gateway.

        Raises:
            UnsupportedError: it depends on something that is not known here.
        """
        used = self.http_proxy()
        if used is not None and call.http and not call.tls and self.bound_at(call.port) != call.address:
            named = replace(call, intercepted=False)
            return self._through(used, named, "used as HTTP proxy, since this sidecar intercepts nothing")
        listener = outbound_listener(self.listeners(call.port), call)
        if listener is None:
            return self._no_listener(call, used)
        return self._through(listener, call)

    def http_proxy(self) -> Any:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the listener that an application names as its HTTP proxy; ``None`` where all is intercepted."""
        held = self._snapshot.of(ResourceType.LISTENER)
        if OUTBOUND_CAPTURE in held:
            return None
        bodies = (resource.body for resource in held.values() if _PROXY_ROUTES in resource.body)
        return next((each for each in map(Listener.FromString, bodies) if _is_http_proxy(each)), None)

    def inbound(self, call: Call) -> Outcome:
        """Return what becomes of a call that reaches the sidecar of a server; ``call`` is made to the server's address.

        Raises:
            UnsupportedError: it depends on something that is not known here.
        """
        listener = self._message(ResourceType.LISTENER, INBOUND_CAPTURE, Listener)
        if listener is None:
            inbound = [each for each in self.listeners(call.port) if each.traffic_direction == _INBOUND]
            listener = outbound_listener(inbound, call)
        if listener is None:
            return self._no_listener(call)
        return self._through(listener, call)

    def _no_listener(self, call: Call, http_proxy: Any = None) -> Outcome:  # noqa: ANN401 - see above
        names = sorted(self._snapshot.of(ResourceType.LISTENER))
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        near = f"{', '.join(names[:_MOST_NAMED])}{more}" if names else "none"
        where = f"{call.address}:{call.port}" if self.bound_at(call.port) else f"port {call.port}"
        reason = f"nothing listens on {where}; the listeners are: {near}"
        if http_proxy is not None:
            at = http_proxy.address.socket_address
            reason += f"; this sidecar intercepts nothing, and is an HTTP proxy at {at.address}:{at.port_value}"
        failure = Failure(Fate.NO_LISTENER, reason)
        return Outcome(failure.fate, (Step("listener", "none", verdict="failed"),), failure=failure)

    def _through(self, listener: Any, call: Call, note: str = "") -> Outcome:  # noqa: ANN401 - see above
        first = Step("listener", listener.name, self.sources.of_listener(listener, call) if not note else None, note)
        chain = filter_chain(listener, call)
        if chain is None:
            return _refused((first,), listener, call)
        named = shown(chain.filter_chain_match)
        steps = [first]
        if len(listener.filter_chains) > 1:
            steps.append(Step("filter chain", chain.name or "default", note=named))
        arrival = Arrival.of(chain, call)
        steps += arrival.steps
        if arrival.failure is not None:
            return Outcome(arrival.failure.fate, tuple(steps), failure=arrival.failure)
        call = arrival.call
        for step, failure in network_policies(chain, call, self.sources):
            steps.append(step)
            if failure is not None:
                return Outcome(failure.fate, tuple(steps), failure=failure)
        for filter_ in chain.filters:
            config = filter_.typed_config
            if config.Is(TcpProxy.DESCRIPTOR):
                return Sending(self, call).bytes(TcpProxy.FromString(config.value), tuple(steps))
            if config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager.FromString(config.value)
                return Serving(self, manager, call).outcome(tuple(steps))
        failure = Failure(Fate.NO_FILTER_CHAIN, f"the filter chain {chain.name} leads nowhere")
        return Outcome(failure.fate, tuple(steps), failure=failure)


def _is_http_proxy(listener: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether a listener has the routes of an HTTP proxy."""
    configs = (each.typed_config for chain in listener.filter_chains for each in chain.filters)
    managers = (
        HttpConnectionManager.FromString(each.value) for each in configs if each.Is(HttpConnectionManager.DESCRIPTOR)
    )
    return any(each.rds.route_config_name == HTTP_PROXY_ROUTES for each in managers)


def _refused(steps: tuple[Step, ...], listener: Any, call: Call) -> Outcome:  # noqa: ANN401 - see above
    kind = f"TLS for {call.server_name or 'no server name'}" if call.tls else "plaintext"
    asked = list(dict.fromkeys(shown(chain.filter_chain_match) for chain in listener.filter_chains))
    reason = f"no filter chain of {listener.name} takes {kind} to port {call.port}; it takes: {'; '.join(asked)}"
    failure = Failure(Fate.NO_FILTER_CHAIN, reason, flag="NR")
    return Outcome(failure.fate, (*steps, Step("filter chain", "none", verdict="failed")), failure=failure)


def _varint(number: int) -> bytes:
    """Return a number as protobuf encodes it."""
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))
