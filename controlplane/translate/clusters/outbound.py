"""Outbound clusters of services: the default cluster of each port and one for each subset.

Nearly all are the same but for their names, those of their services and those of their servers. So what they are is a
query of what is left (``ClusterShape``), made and checked once, and each is joined from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import re2

from controlplane.constraints.checker import faults
from controlplane.engine.recording import Query, query
from controlplane.model.cluster_names import sni
from controlplane.model.kinds import NO_KIND
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Protocol, Resolution, Service, ServiceKey, ServicePort
from controlplane.registry.destination_rules import is_direct, policy_for
from controlplane.registry.endpoints import PERSISTENT_SESSION, PERSISTENT_SESSION_HEADER, endpoints, known_endpoints
from controlplane.registry.mesh import mesh_config
from controlplane.registry.peer_authentication import namespace_mode
from controlplane.registry.store import View
from controlplane.snapshots import Refs, Resource, ResourceType
from controlplane.translate.clusters.messages import ClusterKey, Peers, outbound_cluster
from controlplane.translate.secrets import referenced
from controlplane.translate.sound import is_sound
from controlplane.translate.templates import Template

_WORKLOAD_ID = re2.compile(r"spiffe://[^/]+/(ns/[^/]+/sa/[^/]+)")
"""The SPIFFE id of a workload, of whatever trust domain."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
_LONGEST_PLAIN = 200
"""Of host names up to it, and made of these, the server name is no longer than Envoy takes."""
_MOST_ACCOUNTS = 8
_MARK = "mark-{:02}-of-a-template"


@query
def service_accounts(view: View, service: Service) -> tuple[str, ...]:
    """Return the SPIFFE ids that servers of a service may present, sorted, trust domain aliases included."""
    mesh = mesh_config(view)
    stated = set(service.accounts)
    known = known_endpoints(view, service.hostname, service.namespace)  # where they cannot be read, none is served
    stated.update(endpoint.account for endpoint in known if endpoint.account)
    paths = {found[1] for name in stated if (found := _WORKLOAD_ID.fullmatch(name)) is not None}
    aliases = {f"spiffe://{alias}/{path}" for alias in mesh.trust_domain_aliases for path in paths}
    return tuple(sorted(stated | aliases))


@query
def direct_peers_disabled(view: View, key: tuple[Service, int]) -> bool:
    """Whether endpoints reached by their own address cannot all be assumed to accept mutual TLS."""
    service, number = key
    port = service.port(number)
    known = endpoints(view, (service.hostname, service.namespace)) if port is not None else ()
    held = [endpoint.tls_mode for endpoint in known if port is not None and endpoint.serves(port)]
    return not held or "disabled" in held


class ClusterShape(NamedTuple):
    """All that the clusters of services without rules depend on, beside names; ``accounts`` says how many there are.

    ``sessions``: requests of a session are kept together. ``upstream_port`` replaces the one that was meant.
    """

    client: ClientScope
    protocol: Protocol
    resolution: Resolution
    kubernetes: bool
    mesh_external: bool
    race_first_connect: bool
    traffic_distribution: str
    sessions: bool
    upstream_port: int | str
    peers_disabled: bool
    accounts: int


class ShapedClusters(NamedTuple):
    """Clusters of one shape: the texts of ``_texts`` are left open."""

    template: Template
    refs: Refs


@query
def shaped_clusters(view: View, shape: ClusterShape) -> ShapedClusters | None:
    """Return what clusters of a shape are; ``None`` where there is more of a service in them, or they are wrong."""
    if mesh_config(view).outbound_cluster_stat_name:
        return None
    name, namespace, host, *accounts = (_MARK.format(number) for number in range(3 + shape.accounts))
    service = Service(
        key=ServiceKey(host, ObjectKey(NO_KIND, namespace, name)),
        name=name,
        kubernetes=shape.kubernetes,
        ports=(ServicePort(1, "", shape.protocol, shape.upstream_port),),
        resolution=shape.resolution,
        age_order=("", "", ""),
        mesh_external=shape.mesh_external,
        labels={PERSISTENT_SESSION: "kept"} if shape.sessions else {},
        traffic_distribution=shape.traffic_distribution,
        race_first_connect=shape.race_first_connect,
    )
    key = ClusterKey(service, 1, "", None, shape.client)
    cluster = outbound_cluster(view, key, Peers(shape.peers_disabled, tuple(accounts)))
    if cluster is None or faults(cluster):
        return None
    template = Template.of(cluster.SerializeToString(deterministic=True), _texts(key, accounts))
    return ShapedClusters(template, referenced((cluster.transport_socket,)))


def _texts(key: ClusterKey, accounts: Iterable[str]) -> tuple[str, ...]:
    service = key.service
    name, server = key.name, sni(key.port, key.subset, service.hostname)
    return (name, f"{name};", server, service.hostname, service.name, service.namespace, *accounts)


def _shape(key: ClusterKey, port: ServicePort, peers: Peers) -> ClusterShape | None:
    """Return the shape of a cluster; ``None`` where it is not made by one."""
    service, resolution = key.service, key.service.resolution
    if key.rule is not None or key.subset or key.forwards or len(peers.accounts) > _MOST_ACCOUNTS:
        return None
    if resolution not in {Resolution.CLIENT_SIDE, Resolution.PASSTHROUGH}:
        return None
    if len(service.hostname) > _LONGEST_PLAIN or not _PLAIN.issuperset(service.hostname):
        return None
    return ClusterShape(
        key.client,
        port.protocol,
        resolution,
        service.kubernetes,
        service.mesh_external,
        service.race_first_connect,
        service.traffic_distribution,
        bool(service.labels.get(PERSISTENT_SESSION) or service.labels.get(PERSISTENT_SESSION_HEADER)),
        port.target_port if resolution is Resolution.PASSTHROUGH else 0,
        peers.disabled,
        len(peers.accounts),
    )


def _build(view: View, key: ClusterKey) -> Resource | None:
    """Build one outbound cluster; ``None`` for a DNS cluster without endpoints, which Envoy would not resolve."""
    port = key.service.port(key.port)
    if port is None:
        return None
    view.get(key.service.key.object)  # the key already holds what it says; recorded for provenance
    peers = _peers(view, key)
    shape = _shape(key, port, peers)
    shaped = shaped_clusters(view, shape) if shape is not None else None
    if shaped is not None:
        body = shaped.template.filled(_texts(key, peers.accounts))
        return Resource.of(ResourceType.CLUSTER, key.name, body, shaped.refs)
    cluster = outbound_cluster(view, key, peers)
    if cluster is None or not is_sound(view, cluster, f"cluster {key.name}", lambda _: _sources(key)):
        return None
    refs = referenced((cluster.transport_socket,)) if cluster.HasField("transport_socket") else {}
    return Resource.of(ResourceType.CLUSTER, key.name, cluster.SerializeToString(deterministic=True), refs)


def _sources(key: ClusterKey) -> tuple[ObjectKey, ...]:
    return (key.service.key.object, *(key.rule.sources if key.rule is not None else ()))


cds_resource: Query[ClusterKey, Resource | None] = Query(_build, isolated=True)
cds_resource.name = "cluster"


def _peers(view: View, key: ClusterKey) -> Peers:
    if key.forwards:
        return Peers(disabled=False, accounts=())  # TLS is between others
    return Peers(_peers_disabled(view, key), service_accounts(view, key.service))


def _peers_disabled(view: View, key: ClusterKey) -> bool:
    """Whether servers are known not to accept mutual TLS; of a subset, only its own policy can make it direct."""
    service, rule = key.service, key.rule
    if service.mesh_external:
        return False
    stated = None
    if rule is not None:
        if policy_for(mesh_config(view), rule, key.subset, key.port).tls is not None:
            return False
        subset = rule.subset(key.subset) if key.subset else None
        stated = rule.traffic_policy if not key.subset else subset.traffic_policy if subset is not None else None
    direct = service.resolution is Resolution.PASSTHROUGH or is_direct(stated)
    if direct and direct_peers_disabled(view, (service, key.port)):
        return True
    return namespace_mode(view, service.namespace) == "DISABLE"
