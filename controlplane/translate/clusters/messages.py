"""The message of an outbound cluster, made by its fields from a service, what is ruled of it, and its peers."""

from __future__ import annotations

from typing import NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.apis.destination_rule import ClientTLSMode
from controlplane.apis.mesh import MeshConfig
from controlplane.model.cluster_names import outbound_name, sni
from controlplane.model.proxy_class import NO_FILES, ClientScope, FileCertificates
from controlplane.model.service import Resolution, Service, ServicePort
from controlplane.registry.destination_rules import Policy, Rule, made_of, policy_for
from controlplane.registry.endpoints import PERSISTENT_SESSION, PERSISTENT_SESSION_HEADER
from controlplane.registry.environment import EXTERNAL_BY_RULE, compliance_policy, disabled
from controlplane.registry.mesh import mesh_config
from controlplane.registry.proxy_settings import preserves_header_case
from controlplane.registry.store import View
from controlplane.translate.clusters.metadata import config_metadata, put_services
from controlplane.translate.clusters.policies import (
    circuit_breakers,
    http_options,
    load_balancing,
    locality_balancing,
    outlier_detection,
    preserve_header_case,
    put_http_options,
    tcp_settings,
)
from controlplane.translate.clusters.stat_names import stat_name
from controlplane.translate.clusters.upstream_tls import (
    decide,
    istio_mutual,
    put_auto_mutual,
    stated_tls,
)
from controlplane.translate.compliance import bound_client
from controlplane.translate.dynamic_dns import dns_resolver, resolve_dynamically
from controlplane.translate.endpoints import LoadKey, load_assignment
from controlplane.translate.istio_proxy import metadata_exchange_upstream
from controlplane.translate.locality import locality_setting
from controlplane.translate.proxy_protocol import wrap_proxy_protocol

_KEEPS_ALPN = frozenset({ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL})
"""Modes in which the protocols that are offered are the rule's business, not the mesh's."""


class ClusterKey(NamedTuple):
    """One outbound cluster. ``client`` is projected to what cluster bytes may depend on.

    ``forwards`` is set where a gateway passes mutual TLS through to the service, without ending or adding any.
    """

    service: Service
    port: int
    subset: str
    rule: Rule | None
    client: ClientScope
    forwards: bool = False

    @property
    def name(self) -> str:
        """The cluster's name."""
        name = sni if self.forwards else outbound_name
        return name(self.port, self.subset, self.service.hostname)


class Peers(NamedTuple):
    """What is known of the servers: whether they take no mutual TLS, and the SPIFFE ids that they may present."""

    disabled: bool
    accounts: tuple[str, ...]


def outbound_cluster(view: View, key: ClusterKey, peers: Peers) -> Cluster | None:
    """Return an outbound cluster; ``None`` for a DNS cluster without endpoints. Reference: Cluster."""
    mesh = mesh_config(view)
    service, rule = key.service, key.rule
    port = service.port(key.port)
    if port is None:
        return None
    if rule is not None:
        made_of(view, rule)
    policy = policy_for(mesh, rule, key.subset, key.port)
    name = key.name
    pattern = mesh.outbound_cluster_stat_name
    counted = stat_name(pattern, service, port, key.subset, port.target_port) if pattern else name
    cluster = Cluster(name=name, alt_stat_name=f"{counted};")
    cluster.connect_timeout.FromTimedelta(mesh.connect_timeout)
    if not _discovery(view, cluster, key, mesh, port):
        return None
    circuit_breakers(cluster, policy)
    tcp_settings(cluster, policy, mesh.tcp_keepalive)
    load_balancing(cluster, policy)
    outlier_detection(cluster, policy, force_unhealthy=bool(service.traffic_distribution))
    setting = locality_setting(mesh, service, policy)
    if setting is not None:
        locality_balancing(cluster, setting)
    sessions = service.labels.get(PERSISTENT_SESSION) or service.labels.get(PERSISTENT_SESSION_HEADER)
    if sessions and not key.forwards:
        cluster.common_lb_config.override_host_status.statuses.extend([1, 3, 0, 5])
    put_services(cluster, [service])
    if not key.subset and service.mesh_external:
        cluster.metadata.filter_metadata["istio"].fields["external"].bool_value = True
    if key.subset:
        cluster.metadata.filter_metadata["istio"].fields["subset"].string_value = key.subset
    if rule is not None:
        config_metadata(cluster, "destination-rule", rule.key)
    _transport(view, cluster, key, peers, port, policy)
    if key.client.istio:
        cluster.filters.append(metadata_exchange_upstream())
    return cluster


def _discovery(view: View, cluster: Cluster, key: ClusterKey, mesh: MeshConfig, port: ServicePort) -> bool:
    """Set the discovery type; false where a DNS cluster has no endpoint to resolve."""
    service = key.service
    resolution = service.resolution
    if resolution.is_dns:
        logical = resolution is Resolution.DNS_ROUND_ROBIN or service.race_first_connect
        cluster.type = Cluster.LOGICAL_DNS if logical else Cluster.STRICT_DNS
        _dns(cluster, key.client, mesh, race=service.race_first_connect)
        assignment = load_assignment(view, LoadKey(service, key.port, key.subset, key.rule, key.client, key.forwards))
        if not any(part.lb_endpoints for part in assignment.endpoints):
            return False
        cluster.load_assignment.CopyFrom(_single(assignment) if logical else assignment)
        return True
    if resolution is Resolution.PASSTHROUGH and not key.client.router:
        cluster.type = Cluster.ORIGINAL_DST
        if not service.kubernetes and port.target_port:
            cluster.original_dst_lb_config.upstream_port_override.value = int(port.target_port)
        return True
    if resolution is Resolution.DYNAMIC_DNS:
        resolve_dynamically(cluster)
        return True
    cluster.type = Cluster.EDS
    # no service_name: the cluster's own name is what Envoy asks for then, and saves the same bytes a second time
    source = cluster.eds_cluster_config.eds_config
    source.ads.SetInParent()
    source.initial_fetch_timeout.SetInParent()
    source.resource_api_version = 2
    return True


def _single(assignment: ClusterLoadAssignment) -> ClusterLoadAssignment:
    """Return the first endpoint alone: Envoy refuses a logical DNS cluster with more, and a selector may find more."""
    first = next(part for part in assignment.endpoints if part.lb_endpoints)
    single = ClusterLoadAssignment(cluster_name=assignment.cluster_name, endpoints=[first])
    del single.endpoints[0].lb_endpoints[1:]
    return single


def _dns(cluster: Cluster, client: ClientScope, mesh: MeshConfig, *, race: bool) -> None:
    if race or client.dual_stack:
        cluster.dns_lookup_family = Cluster.ALL
    elif client.ipv6 and not client.ipv4:
        cluster.dns_lookup_family = Cluster.V6_ONLY
    else:
        cluster.dns_lookup_family = Cluster.V4_ONLY
    cluster.typed_dns_resolver_config.CopyFrom(dns_resolver())
    cluster.dns_jitter.FromMilliseconds(100)
    cluster.dns_refresh_rate.FromTimedelta(mesh.dns_refresh_rate)
    cluster.respect_dns_ttl = True


def _transport(  # noqa: PLR0913, PLR0917 - the inputs of one cluster
    view: View, cluster: Cluster, key: ClusterKey, peers: Peers, port: ServicePort, policy: Policy
) -> None:
    """Set HTTP options and the transport socket; TLS may add HTTP options of its own."""
    mesh, service = mesh_config(view), key.service
    upgrade = str(mesh.h2_upgrade_policy or "")
    options = http_options(port.protocol, policy, upgrade, detects=not key.client.router)
    if preserves_header_case(view, key.client.settings):
        options = preserve_header_case(options, port.protocol)
    http2 = (
        options is not None
        and options.WhichOneof("upstream_protocol_options") == "explicit_http_config"
        and (options.explicit_http_config.HasField("http2_protocol_options"))
    )
    if key.forwards:
        put_http_options(cluster, options)
        return
    decision = decide(
        mesh,
        service,
        port,
        key.subset,
        policy,
        peers_disabled=peers.disabled,
        accounts=peers.accounts,
        files=_files(view, key.client, service),
    )
    if decision.mutual:
        socket = bound_client(istio_mutual(decision, http2=http2, istio=key.client.istio), compliance_policy(view))
        if decision.auto and cluster.type != Cluster.ORIGINAL_DST:
            put_auto_mutual(cluster, socket)
        else:
            cluster.transport_socket.CopyFrom(socket)
    elif decision.stated is not None:
        selected = (key.rule is not None and key.rule.selector is not None) or key.client.router
        stated, options = stated_tls(
            mesh, decision.stated, service, options, http2=http2, selected=selected, files=key.client.files
        )
        if stated is not None:
            cluster.transport_socket.CopyFrom(bound_client(stated, compliance_policy(view)))
    if policy.tls is not None and policy.tls.mode in _KEEPS_ALPN:
        cluster.metadata.filter_metadata["istio"].fields["alpn_override"].string_value = "false"
    put_http_options(cluster, options)
    wrap_proxy_protocol(cluster, policy.proxy_protocol)


def _files(view: View, client: ClientScope, service: Service) -> FileCertificates:
    """Return the certificates of its own that a client uses for a service: outside the mesh rules decide."""
    by_rule = service.mesh_external and not disabled(view, EXTERNAL_BY_RULE)
    return NO_FILES if by_rule else client.files
