"""What an Envoy that holds a snapshot does with a call: which cluster, which endpoints, or which answer of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import ip_address
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from controlplane.snapshots import ResourceType, Snapshot
from tests.samples.matching import Call, filter_chain, matches, virtual_host

OUTBOUND_CAPTURE = "virtualOutbound"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a call: the share of each cluster (they add up to 1), or what the proxy answers itself."""

    clusters: Mapping[str, Fraction] = field(default_factory=dict)
    status: int = 0
    path: str = ""
    mirrors: tuple[str, ...] = ()
    timeout: str = ""
    attempts: int = 0
    error: str = ""


class Held:
    """The decoded resources of one proxy."""

    def __init__(self, snapshot: Snapshot) -> None:
        def decoded(type_: ResourceType, message: Any) -> dict[str, Any]:
            return {name: message.FromString(resource.body) for name, resource in snapshot.of(type_).items()}

        self.clusters = decoded(ResourceType.CLUSTER, Cluster)
        self.listeners = decoded(ResourceType.LISTENER, Listener)
        self.routes = decoded(ResourceType.ROUTE, RouteConfiguration)
        self._assignments = decoded(ResourceType.ENDPOINT, ClusterLoadAssignment)

    def outcome(self, call: Call) -> Outcome:
        """Return what becomes of a call."""
        listener = self._listener(call)
        if listener is None:
            return Outcome(error="no listener")
        chain = filter_chain(listener, call)
        if chain is None:
            return Outcome(error="no filter chain")
        for filter_ in chain.filters:
            if filter_.typed_config.Is(TcpProxy.DESCRIPTOR):
                return _of_tcp(TcpProxy.FromString(filter_.typed_config.value))
            if filter_.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager.FromString(filter_.typed_config.value)
                return self._of_http(manager, call)
        return Outcome(error="the filter chain leads nowhere")

    def endpoints(self, cluster: str) -> list[list[str]]:
        """Return the addresses ``host:port`` of a cluster, a sorted list for each priority, 0 first."""
        held = self.clusters[cluster]
        name = held.eds_cluster_config.service_name or cluster
        assignment = self._assignments[name] if held.type == Cluster.EDS else held.load_assignment
        found: dict[int, list[str]] = {}
        for locality in assignment.endpoints:
            for one in locality.lb_endpoints:
                where = one.endpoint.address.socket_address
                found.setdefault(locality.priority, []).append(f"{where.address}:{where.port_value}")
        return [sorted(found[priority]) for priority in sorted(found)]

    def locality_weights(self, cluster: str) -> dict[str, int]:
        """Return the weight of each locality of a cluster, by ``region/zone``."""
        name = self.clusters[cluster].eds_cluster_config.service_name or cluster
        return {
            f"{one.locality.region}/{one.locality.zone}": one.load_balancing_weight.value
            for one in self._assignments[name].endpoints
        }

    def server_name(self, cluster: str) -> str | None:
        """Return the name that the proxy asks for when it begins TLS to this cluster; ``None`` without TLS."""
        socket = self.clusters[cluster].transport_socket
        if socket.typed_config.type_url != _TLS:
            return None
        return str(UpstreamTlsContext.FromString(socket.typed_config.value).sni)

    def _listener(self, call: Call) -> Any:
        """Return the listener of exactly this address, else of the port on every address, else what captures all."""
        wildcard = None
        for listener in self.listeners.values():
            where = listener.address.socket_address
            if listener.name != "virtualInbound" and where.port_value == call.port:
                if where.address == call.address:
                    return listener
                if ip_address(where.address).is_unspecified:
                    wildcard = listener
        return wildcard or self.listeners.get(OUTBOUND_CAPTURE)

    def _of_http(self, manager: Any, call: Call) -> Outcome:
        name = manager.rds.route_config_name
        if name and name not in self.routes:
            return Outcome(error=f"route configuration {name} is missing")
        routes = self.routes[name] if name else manager.route_config
        host = virtual_host(routes, call.host)
        if host is None:
            return Outcome(status=404)
        for route in host.routes:
            if matches(route.match, call):
                return _of_route(route, call)
        return Outcome(status=404)


def _of_route(route: Any, call: Call) -> Outcome:
    kind = route.WhichOneof("action")
    if (aborted := _abort_status(route)) is not None:
        return Outcome(status=aborted)
    if kind == "direct_response":
        return Outcome(status=route.direct_response.status)
    if kind == "redirect":
        codes = (301, 302, 303, 307, 308)  # in the order of RedirectAction.RedirectResponseCode
        return Outcome(status=codes[route.redirect.response_code], path=route.redirect.path_redirect)
    assert kind == "route", kind
    action = route.route
    seconds = action.timeout.ToTimedelta().total_seconds()
    return Outcome(
        clusters=_shares(action),
        path=_rewritten(route, call.path),
        mirrors=tuple(policy.cluster for policy in action.request_mirror_policies),
        timeout=f"{seconds:g}s" if seconds else "",
        attempts=action.retry_policy.num_retries.value,
    )


def _abort_status(route: Any) -> int | None:
    """Return the status of a fault that every request of the route meets."""
    packed = route.typed_per_filter_config.get("envoy.filters.http.fault")
    if packed is None:
        return None
    abort = HTTPFault.FromString(packed.value).abort
    certain = {0: 100, 1: 10_000, 2: 1_000_000}[abort.percentage.denominator]
    return int(abort.http_status) if abort.http_status and abort.percentage.numerator == certain else None


def _rewritten(route: Any, path: str) -> str:
    action = route.route
    if action.prefix_rewrite:
        matched = route.match.prefix or route.match.path_separated_prefix or route.match.path
        return str(action.prefix_rewrite + path[len(matched) :])
    if action.HasField("regex_rewrite"):
        pattern, substitution = action.regex_rewrite.pattern.regex, action.regex_rewrite.substitution
        return re.sub(pattern, substitution, path, count=1)
    return path


def _of_tcp(proxy: Any) -> Outcome:
    return Outcome(clusters=_shares(proxy))


def _shares(action: Any) -> dict[str, Fraction]:
    """Return the share of each cluster of a route action or a TCP proxy."""
    if not action.HasField("weighted_clusters"):
        return {action.cluster: Fraction(1)}
    weights: dict[str, int] = {}
    for one in action.weighted_clusters.clusters:
        weight = one.weight if isinstance(one.weight, int) else one.weight.value
        weights[one.name] = weights.get(one.name, 0) + weight
    total = sum(weights.values())
    return {name: Fraction(weight, total) for name, weight in weights.items() if weight}
