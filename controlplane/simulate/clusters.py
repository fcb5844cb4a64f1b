"""What Envoy does with a call once its cluster is known: endpoints by priority and place, and TLS to them.

Reference: envoy.config.cluster.v3.Cluster, envoy.config.endpoint.v3.ClusterLoadAssignment.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.json_format import MessageToDict

from controlplane.simulate.call import Call, Place

_USABLE = frozenset({0, 1, 5})
"""UNKNOWN, HEALTHY and DEGRADED of envoy.config.core.v3.HealthStatus."""
_OVERPROVISIONING = 140
_MATCH_KEY = "envoy.transport_socket_match"


class Security(NamedTuple):
    """How a proxy speaks to an endpoint: ``mode`` is ``mutual``, ``simple`` or empty for plaintext."""

    mode: str = ""
    server_name: str = ""
    alpn: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def load_assignment(cluster: Any, assignments: Any) -> Any:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the endpoints of a cluster, ``None`` where they are not its own to know (or not there)."""
    if cluster.type == Cluster.EDS:
        return assignments(cluster.eds_cluster_config.service_name or cluster.name)
    return cluster.load_assignment if cluster.HasField("load_assignment") else None


def places(cluster: Any, assignment: Any, call: Call) -> list[Place]:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the endpoints of a cluster with their shares, by priority; for an original destination the call's own."""
    if cluster.type == Cluster.ORIGINAL_DST:
        if not call.intercepted:
            return []
        port = cluster.original_dst_lb_config.upstream_port_override.value or call.port
        return [Place(joined(call.address, port), Fraction(1), tls=security(cluster, {}).mode)]
    held = assignment.endpoints if assignment is not None else ()
    shares = _priority_shares(held)
    weighted = cluster.common_lb_config.HasField("locality_weighted_lb_config")
    found: list[Place] = []
    for group in held:
        share = shares.get(group.priority, Fraction(0)) * _locality_share(group, held, weighted=weighted)
        total = sum(_weight(each) for each in group.lb_endpoints if usable(each))
        for each in group.lb_endpoints:
            own = Fraction(_weight(each), total) * share if usable(each) and total else Fraction(0)
            found.append(_place(cluster, group, each, own))
    return sorted(found, key=lambda place: (place.priority, place.address))


def usable(endpoint: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether Envoy sends anything to an endpoint, as far as the control plane says."""
    return endpoint.health_status in _USABLE


def _weight(endpoint: Any) -> int:  # noqa: ANN401 - Envoy's messages carry no types
    return endpoint.load_balancing_weight.value if endpoint.HasField("load_balancing_weight") else 1


def _priority_shares(groups: Iterable[Any]) -> dict[int, Fraction]:
    """Return the share of each priority: the first takes all it can, with Envoy's allowance for failed ones."""
    counts: dict[int, tuple[int, int]] = {}
    for group in groups:
        good, every = counts.get(group.priority, (0, 0))
        counts[group.priority] = good + sum(map(usable, group.lb_endpoints)), every + len(group.lb_endpoints)
    left, shares = Fraction(1), {}
    for priority in sorted(counts):
        good, every = counts[priority]
        health = min(Fraction(1), Fraction(good * _OVERPROVISIONING, every * 100)) if every else Fraction(0)
        shares[priority] = min(left, health)
        left -= shares[priority]
    total = sum(shares.values())
    return {priority: share / total for priority, share in shares.items()} if total else shares


def _locality_share(group: Any, groups: Iterable[Any], *, weighted: bool) -> Fraction:  # noqa: ANN401 - see above
    """Return the share of a locality among those of its priority that have something to send to."""

    def size(one: Any) -> Fraction:  # noqa: ANN401 - Envoy's messages carry no types
        good = sum(map(usable, one.lb_endpoints))
        if not weighted:
            return Fraction(sum(_weight(each) for each in one.lb_endpoints if usable(each)))
        health = Fraction(good * _OVERPROVISIONING, max(1, len(one.lb_endpoints)) * 100)
        return Fraction(one.load_balancing_weight.value) * min(Fraction(1), health)

    total = sum((size(one) for one in groups if one.priority == group.priority), Fraction(0))
    return Fraction(size(group), total) if total else Fraction(0)


def _place(cluster: Any, group: Any, endpoint: Any, share: Fraction) -> Place:  # noqa: ANN401 - see above
    parts = [group.locality.region, group.locality.zone, group.locality.sub_zone]
    metadata = endpoint.metadata.filter_metadata
    workload = metadata["istio"]["workload"] if "istio" in metadata and "workload" in metadata["istio"] else ""
    match = MessageToDict(metadata[_MATCH_KEY]) if _MATCH_KEY in metadata else {}
    return Place(
        address=address_of(endpoint),
        share=share,
        priority=group.priority,
        locality="/".join(parts).rstrip("/"),
        workload=workload,
        tls=security(cluster, match).mode,
        healthy=usable(endpoint),
    )


def address_of(endpoint: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return ``host:port`` of an endpoint, or the path of its socket."""
    where = endpoint.endpoint.address
    if where.HasField("pipe"):
        return str(where.pipe.path)
    return joined(where.socket_address.address, where.socket_address.port_value)


def joined(host: str, port: int) -> str:
    """Return ``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def security_of(cluster: Any, tls: str) -> Security:  # noqa: ANN401 - Envoy's messages carry no types
    """Return how a proxy speaks to those endpoints of a cluster to which it speaks in this way."""
    sockets = [each.transport_socket for each in cluster.transport_socket_matches] or [cluster.transport_socket]
    return next((found for socket in sockets if (found := _of_socket(socket)).mode == tls), Security())


def security(cluster: Any, match: Any) -> Security:  # noqa: ANN401 - Envoy's messages carry no types
    """Return how a proxy speaks to an endpoint with these labels for the choice of a transport socket."""
    for each in cluster.transport_socket_matches:
        if all(match.get(name) == value for name, value in MessageToDict(each.match).items()):
            return _of_socket(each.transport_socket)
    return _of_socket(cluster.transport_socket)


def _of_socket(socket: Any) -> Security:  # noqa: ANN401 - Envoy's messages carry no types
    if not socket.typed_config.Is(UpstreamTlsContext.DESCRIPTOR):
        return Security()
    context = UpstreamTlsContext.FromString(socket.typed_config.value)
    common = context.common_tls_context
    mutual = common.tls_certificate_sds_secret_configs or common.tls_certificates
    validation = common.combined_validation_context.default_validation_context
    names = [
        ("prefix:" if name.WhichOneof("match_pattern") == "prefix" else "") + (name.exact or name.prefix)
        for name in validation.match_subject_alt_names
    ]
    mode = "mutual" if mutual else "simple"
    return Security(mode, context.sni, tuple(common.alpn_protocols), tuple(names))
