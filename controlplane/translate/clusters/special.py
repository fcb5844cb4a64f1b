"""Clusters that stand for no service: black hole, both passthroughs, and the server of secrets beside the proxy."""

from __future__ import annotations

from typing import NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions as HttpOptions

from controlplane.apis.mesh import MeshConfig
from controlplane.engine.recording import Query
from controlplane.model.cluster_names import BLACK_HOLE, CREDENTIALS, DYNAMIC_DNS, INBOUND_PASSTHROUGH, PASSTHROUGH
from controlplane.model.service import Protocol
from controlplane.registry.destination_rules import Policy
from controlplane.registry.mesh import MESH_KEY, mesh_config
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.clusters.policies import (
    bind_address,
    circuit_breakers,
    downstream_protocol,
    preserve_header_case,
    put_http_options,
    tcp_settings,
)
from controlplane.translate.dynamic_dns import resolve_dynamically
from controlplane.translate.istio_proxy import metadata_exchange_upstream
from controlplane.translate.sound import is_sound

IDLE_TIMEOUT_SECONDS = 300
CREDENTIALS_SOCKET = "./var/run/secrets/credential-uds/socket"
INBOUND_SOURCE = {False: "127.0.0.6", True: "::6"}


class SpecialKey(NamedTuple):
    """One special cluster by name, for an istio-proxy or not, of these IP families.

    ``preserves_case`` is set where header names of HTTP/1.1 keep their case on the way to unknown hosts.
    """

    name: str
    istio: bool
    ipv4: bool = True
    ipv6: bool = False
    preserves_case: bool = False


def inbound_sources(key: SpecialKey) -> tuple[str, ...]:
    """Return the source addresses that inbound connections come from, the first family's first."""
    found = [INBOUND_SOURCE[False]] if key.ipv4 else []
    return tuple(found + ([INBOUND_SOURCE[True]] if key.ipv6 else [])) or (INBOUND_SOURCE[False],)


def _build(view: View, key: SpecialKey) -> Resource | None:
    """Build one special cluster."""
    mesh = mesh_config(view)
    if key.name == BLACK_HOLE:
        cluster = black_hole(mesh)
    elif key.name == CREDENTIALS:
        cluster = credentials(mesh)
    else:
        cluster = _dynamic(mesh, key) if key.name == DYNAMIC_DNS else _passthrough(mesh, key)
    if not is_sound(view, cluster, f"cluster {key.name}", lambda _: (MESH_KEY,)):
        return None
    return Resource.of(ResourceType.CLUSTER, key.name, cluster.SerializeToString(deterministic=True))


special_cluster: Query[SpecialKey, Resource | None] = Query(_build, isolated=True)
special_cluster.name = "special_cluster"


def black_hole(mesh: MeshConfig) -> Cluster:
    """Return the cluster without endpoints that swallows traffic."""
    cluster = Cluster(name=BLACK_HOLE, alt_stat_name=f"{BLACK_HOLE};", type=Cluster.STATIC)
    cluster.connect_timeout.FromTimedelta(mesh.connect_timeout)
    return cluster


def credentials(mesh: MeshConfig) -> Cluster:
    """Return the server of secrets beside the proxy, which has what ``credentialName: sds://NAME`` names."""
    cluster = Cluster(name=CREDENTIALS, type=Cluster.STATIC)
    cluster.connect_timeout.FromTimedelta(mesh.connect_timeout)
    cluster.load_assignment.cluster_name = CREDENTIALS
    endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.pipe.path = CREDENTIALS_SOCKET
    options = HttpOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    put_http_options(cluster, options)
    return cluster


def _passthrough(mesh: MeshConfig, key: SpecialKey) -> Cluster:
    cluster = Cluster(name=key.name, alt_stat_name=f"{PASSTHROUGH};", type=Cluster.ORIGINAL_DST)
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    cluster.connect_timeout.FromTimedelta(mesh.connect_timeout)
    baseline = mesh.default_traffic_policy
    policy = Policy(connection_pool=baseline.connection_pool if baseline is not None else None)
    circuit_breakers(cluster, policy)
    tcp_settings(cluster, policy, mesh.tcp_keepalive)
    _client_protocol(cluster, preserves_case=key.preserves_case)
    if key.name == INBOUND_PASSTHROUGH:
        first, *extra = inbound_sources(key)
        bind_address(cluster, first, tuple(extra))
    elif key.istio:
        cluster.filters.append(metadata_exchange_upstream())
    return cluster


def _dynamic(mesh: MeshConfig, key: SpecialKey) -> Cluster:
    cluster = Cluster(name=key.name, alt_stat_name=f"{key.name};")
    cluster.connect_timeout.FromTimedelta(mesh.connect_timeout)
    circuit_breakers(cluster, Policy())
    _client_protocol(cluster)
    resolve_dynamically(cluster)
    if key.istio:
        cluster.filters.append(metadata_exchange_upstream())
    return cluster


def _client_protocol(cluster: Cluster, *, preserves_case: bool = False) -> None:
    options = HttpOptions()
    options.common_http_protocol_options.idle_timeout.seconds = IDLE_TIMEOUT_SECONDS
    downstream_protocol(options)
    if preserves_case:
        preserve_header_case(options, Protocol.AUTO)
    put_http_options(cluster, options)
