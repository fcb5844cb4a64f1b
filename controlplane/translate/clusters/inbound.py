"""Inbound clusters: from the proxy to the application beside it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from controlplane.apis.mesh import MeshConfig
from controlplane.engine.recording import Query, query
from controlplane.model.cluster_names import inbound_name
from controlplane.model.proxy_class import InboundScope, InboundTarget
from controlplane.model.service import Protocol, Service, ServicePort
from controlplane.registry.destination_rules import Policy, Rule, inbound_rule_for, policy_for
from controlplane.registry.mesh import mesh_config
from controlplane.registry.proxy_settings import preserves_header_case
from controlplane.registry.reachable import ReachKey, reaches
from controlplane.registry.scopes import EgressKey
from controlplane.registry.services import services_of
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.clusters.metadata import config_metadata, put_services
from controlplane.translate.clusters.policies import (
    bind_address,
    circuit_breakers,
    http_options,
    preserve_header_case,
    put_http_options,
    tcp_settings,
)
from controlplane.translate.clusters.special import SpecialKey, inbound_sources
from controlplane.translate.clusters.stat_names import stat_name
from controlplane.translate.sound import is_sound

FOREVER_SECONDS = 9223372035
UNIX = "unix://"


class InboundKey(NamedTuple):
    """One inbound cluster: the workload's port (or the ingress listener's) of this inbound scope."""

    scope: InboundScope
    port: int

    @property
    def name(self) -> str:
        """The cluster's name."""
        return inbound_name(self.port)


def inbound_ports(view: View, scope: InboundScope) -> tuple[int, ...]:
    """Return the ports that get an inbound cluster, ascending."""
    ingress = _ingress(view, scope)
    if ingress:
        return tuple(sorted({listener.port.number for listener in ingress if listener.port is not None}))
    if scope.interception == "NONE":
        return ()
    return tuple(sorted({target.target_port for target in scope.targets}))


def _ingress(view: View, scope: InboundScope) -> tuple[Any, ...]:
    obj = view.get(scope.sidecar) if scope.sidecar is not None else None
    return tuple(obj.spec.ingress) if obj is not None else ()


def _build(view: View, key: InboundKey) -> Resource | None:
    """Build one inbound cluster; ``None`` for a port that is there no more. Reference: envoy.config.cluster.v3.Cluster.

    The port of a Sidecar's ``ingress`` that was deleted is asked for once more, before its proxies change class.
    """
    listener = next((one for one in _ingress(view, key.scope) if one.port.number == key.port), None)
    cluster = _service_cluster(view, key) if listener is None else _ingress_cluster(view, key, listener)
    if cluster is None or not is_sound(view, cluster, f"cluster {key.name}"):
        return None
    return Resource.of(ResourceType.CLUSTER, key.name, cluster.SerializeToString(deterministic=True))


inbound_cluster: Query[InboundKey, Resource | None] = Query(_build, isolated=True)
inbound_cluster.name = "inbound_cluster"


def _targets(view: View, key: InboundKey) -> list[tuple[Service, ServicePort]]:
    found = []
    for target in targets_by_port(view, key.scope).get(key.port, ()):
        for service in services_of(view, target.service.object):
            port = service.port(target.port)
            if service.key == target.service and port is not None:
                found.append((service, port))
    return found


@query
def targets_by_port(_view: View, scope: InboundScope) -> Mapping[int, list[InboundTarget]]:
    """Return the service ports of a workload by the port of it that they lead to."""
    found: dict[int, list[InboundTarget]] = {}
    for target in scope.targets:
        found.setdefault(target.target_port, []).append(target)
    return found


def _service_cluster(view: View, key: InboundKey) -> Cluster | None:
    mesh = mesh_config(view)
    targets = _targets(view, key)
    if not targets:
        return None
    service, port = targets[0]
    rule = _rule(view, key.scope, service)
    policy = policy_for(mesh, rule, "", port.number)
    pool = _sidecar_pool(view, key.scope) or policy.connection_pool
    cluster = _cluster(view, key, port.protocol, pool)
    _count(cluster, mesh, key, service, port)
    if str(getattr(mesh.inbound_traffic_policy, "mode", None) or "PASSTHROUGH") == "LOCALHOST":
        _static(cluster, "127.0.0.1" if key.scope.ipv4 else "::1", key.port)
    else:
        _original_destination(cluster, key)
    _describe(cluster, [held for held, held_port in targets if held_port.number == port.number], rule)
    return cluster


def _rule(view: View, scope: InboundScope, service: Service) -> Rule | None:
    """Return the rule of a service; a proxy uses those of the services alone that it may reach as a client."""
    rule = inbound_rule_for(view, service)
    if rule is None or not reaches(view, ReachKey(EgressKey(scope.namespace, scope.sidecar), service.hostname)):
        return None
    return rule


def _describe(cluster: Cluster, services: list[Service], rule: Rule | None) -> None:
    if services and not services[0].mesh_external:
        put_services(cluster, services)
    if rule is not None and rule.traffic_policy is not None:
        config_metadata(cluster, "destination-rule", rule.key)


def _ingress_cluster(view: View, key: InboundKey, listener: Any) -> Cluster:  # noqa: ANN401 - an apis model
    mesh = mesh_config(view)
    pool = listener.connection_pool or _sidecar_pool(view, key.scope)
    targets = _targets(view, key)
    rule = _rule(view, key.scope, targets[0][0]) if targets else None
    if pool is None:
        pool = policy_for(mesh, rule, "", targets[0][1].number if targets else 0).connection_pool
    cluster = _cluster(view, key, Protocol.parse(listener.port.protocol or ""), pool)
    if targets:
        _count(cluster, mesh, key, *targets[0])
    _ingress_endpoint(cluster, key, listener.default_endpoint or "")
    _describe(cluster, [service for service, _ in targets], rule)
    return cluster


def _count(cluster: Cluster, mesh: MeshConfig, key: InboundKey, service: Service, port: ServicePort) -> None:
    """Name the cluster in statistics as the mesh asks."""
    if mesh.inbound_cluster_stat_name:
        cluster.alt_stat_name = f"{stat_name(mesh.inbound_cluster_stat_name, service, port, target=key.port)};"


def _ingress_endpoint(cluster: Cluster, key: InboundKey, endpoint: str) -> None:
    if endpoint.startswith(UNIX):
        cluster.type = Cluster.STATIC
        cluster.load_assignment.cluster_name = cluster.name
        held = cluster.load_assignment.endpoints.add().lb_endpoints.add()
        held.endpoint.address.pipe.path = endpoint.removeprefix(UNIX)
        _bind(cluster, key)
        return
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    if not host:
        _original_destination(cluster, key)
        return
    if host in ("127.0.0.1", "::1"):
        fits = key.scope.ipv4 if host == "127.0.0.1" else key.scope.ipv6
        other = "::1" if host == "127.0.0.1" else "127.0.0.1"
        _static(cluster, host if fits else other, int(port))
        return
    version = 6 if ":" in host else 4
    own = next((ip for ip in key.scope.ips if ipaddress.ip_address(ip).version == version), None)
    if own is None:
        _static(cluster, "127.0.0.1" if key.scope.ipv4 else "::1", int(port))
        return
    _static(cluster, own, int(port))
    _bind(cluster, key)


def _cluster(view: View, key: InboundKey, protocol: Protocol, pool: Any) -> Cluster:  # noqa: ANN401 - apis model
    cluster = Cluster(name=key.name, alt_stat_name=f"{key.name};")
    mesh = mesh_config(view)
    cluster.connect_timeout.FromTimedelta(mesh.connect_timeout)
    policy = Policy(connection_pool=pool)
    circuit_breakers(cluster, policy)
    tcp_settings(cluster, policy, mesh.tcp_keepalive)
    cluster.common_lb_config.SetInParent()
    options = http_options(protocol, policy, None)
    if preserves_header_case(view, key.scope.settings):
        options = preserve_header_case(options, protocol)
    put_http_options(cluster, options)
    return cluster


def _original_destination(cluster: Cluster, key: InboundKey) -> None:
    cluster.type = Cluster.ORIGINAL_DST
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    cluster.cleanup_interval.seconds = FOREVER_SECONDS
    _bind(cluster, key)


def _bind(cluster: Cluster, key: InboundKey) -> None:
    scope = key.scope
    first, *extra = inbound_sources(SpecialKey("", scope.istio, scope.ipv4, scope.ipv6))
    bind_address(cluster, first, tuple(extra) if scope.dual_stack else ())


def _static(cluster: Cluster, address: str, port: int) -> None:
    cluster.type = Cluster.STATIC
    cluster.load_assignment.cluster_name = cluster.name
    held = cluster.load_assignment.endpoints.add().lb_endpoints.add()
    held.endpoint.address.socket_address.address = address
    held.endpoint.address.socket_address.port_value = port


def _sidecar_pool(view: View, scope: InboundScope) -> Any:  # noqa: ANN401 - an apis model or None
    obj = view.get(scope.sidecar) if scope.sidecar is not None else None
    return obj.spec.inbound_connection_pool if obj is not None else None
