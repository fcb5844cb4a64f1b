"""Hash policies: which attribute of a request a DestinationRule with ``consistentHash`` hangs affinity on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from envoy.config.route.v3.route_components_pb2 import RouteAction

from controlplane.apis.destination_rule import ConsistentHashLB, LoadBalancerSettings, TrafficPolicy
from controlplane.apis.virtual_service import Destination
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.proxy_class import LabelPairs
from controlplane.registry.destination_rules import Rule, full_host
from controlplane.registry.store import View


@dataclass(frozen=True, slots=True)
class HashedHosts:
    """Hosts of the DestinationRules that state a consistent hash anywhere: exact names, and wildcards' suffixes.

    ``labels`` are those by which DestinationRules select clients, if there is any such host.
    """

    exact: frozenset[str]
    suffixes: tuple[str, ...]
    labels: LabelPairs = frozenset()

    def __bool__(self) -> bool:
        return bool(self.exact or self.suffixes)

    def may_hash(self, hostname: str) -> bool:
        """Whether some rule with a hash could apply to the host; most meshes have few, so that few are looked up."""
        return hostname in self.exact or hostname.endswith(self.suffixes)


@query
def hashed_hosts(view: View, _key: tuple[()]) -> HashedHosts:
    """Return the hosts that DestinationRules with a consistent hash are for."""
    hosts: set[str] = set()
    labels: set[tuple[str, str]] = set()
    for key in view.keys(kinds.DESTINATION_RULE):
        obj = view.get(key)
        if obj is None:
            continue
        if obj.spec.workload_selector is not None:
            labels.update(obj.spec.workload_selector.match_labels.items())
        if _hashes(obj.spec.traffic_policy, obj.spec.subsets):
            hosts.add(full_host(obj.spec.host, key.namespace, view.domain))
    wild = {host for host in hosts if host.startswith("*")}
    return HashedHosts(
        frozenset(hosts - wild),
        tuple(sorted(host[1:] for host in wild)),
        frozenset(labels) if hosts else frozenset(),
    )


def _hashes(policy: TrafficPolicy | None, subsets: Iterable[object] = ()) -> bool:
    if policy is not None:
        levels = (policy.load_balancer, *(level.load_balancer for level in policy.port_level_settings))
        if any(_consistent(level) is not None for level in levels):
            return True
    return any(_hashes(getattr(subset, "traffic_policy", None)) for subset in subsets)


def _consistent(load_balancer: LoadBalancerSettings | None) -> ConsistentHashLB | None:
    return load_balancer.consistent_hash if load_balancer is not None else None


def service_hash(rule: Rule | None, port: int) -> bytes:
    """Return the encoded hash policy of a service's default route, or empty bytes; subsets do not count."""
    if rule is None or rule.traffic_policy is None:
        return b""
    return hash_policy(_port_hash(rule.traffic_policy, port) or _consistent(rule.traffic_policy.load_balancer))


def destination_hash(rule: Rule | None, destination: Destination) -> bytes:
    """Return the encoded hash policy of a VirtualService's destination, or empty bytes.

    The subset's port level counts first, then the subset, the rule's port level, the rule; port levels are looked
    at only where the destination names its port.
    """
    if rule is None:
        return b""
    port = destination.port.number if destination.port is not None else 0
    subset = rule.subset(destination.subset) if destination.subset else None
    for policy in (subset.traffic_policy if subset is not None else None, rule.traffic_policy):
        if policy is None:
            continue
        found = (_port_hash(policy, port) if port else None) or _consistent(policy.load_balancer)
        if found is not None:
            return hash_policy(found)
    return b""


def _port_hash(policy: TrafficPolicy, port: int) -> ConsistentHashLB | None:
    for level in policy.port_level_settings:
        if level.port is not None and level.port.number == port:
            return _consistent(level.load_balancer)
    return None


def hash_policy(stated: ConsistentHashLB | None) -> bytes:
    """Return the encoded ``HashPolicy`` for what is hashed, or empty bytes where nothing is."""
    if stated is None:
        return b""
    out = RouteAction.HashPolicy()
    if stated.http_header_name:
        out.header.header_name = stated.http_header_name
    elif stated.http_cookie is not None:
        cookie = stated.http_cookie
        out.cookie.name = cookie.name
        out.cookie.path = cookie.path
        if cookie.ttl is not None:
            out.cookie.ttl.FromTimedelta(cookie.ttl)
        for attribute in cookie.attributes:
            out.cookie.attributes.add(name=attribute.name, value=attribute.value)
    elif stated.use_source_ip is not None:
        out.connection_properties.source_ip = stated.use_source_ip
    elif stated.http_query_parameter_name:
        out.query_parameter.name = stated.http_query_parameter_name
    else:
        return b""
    return bytes(out.SerializeToString(deterministic=True))
