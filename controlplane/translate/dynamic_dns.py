"""Hosts that are resolved when a request names them: the cluster, and the HTTP filter that does the looking up.

A cluster and the filter before it meet in a DNS cache, by its name and equal settings. All share one here, so that a
connection manager needs one filter, whichever hosts its routes lead to; other clusters the filter leaves alone.
"""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig
from envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import FilterConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2 import CaresDnsResolverConfig

from controlplane.translate.tls_context import typed

CACHE = "mesh_dfp_dns_cache"
#: hosts that the cache holds at most
MAX_HOSTS = 1024
MAX_DNS_QUERIES = 100


def dns_resolver() -> TypedExtensionConfig:
    """Return the resolver that Istio's clusters use, with a bound on queries over one socket."""
    resolver = CaresDnsResolverConfig()
    resolver.udp_max_queries.value = MAX_DNS_QUERIES
    return TypedExtensionConfig(name="envoy.network.dns_resolver.cares", typed_config=typed(resolver))


def _cache() -> DnsCacheConfig:
    cache = DnsCacheConfig(name=CACHE, dns_lookup_family=Cluster.V4_PREFERRED, typed_dns_resolver_config=dns_resolver())
    cache.max_hosts.value = MAX_HOSTS
    return cache


FORWARD_PROXY = HttpFilter(
    name="envoy.filters.http.dynamic_forward_proxy", typed_config=typed(FilterConfig(dns_cache_config=_cache()))
)
"""The filter that looks a request's host up before it goes to such a cluster."""


def resolve_dynamically(cluster: Cluster) -> None:
    """Make a cluster send each request to the host that it names. Reference: DFP ClusterConfig."""
    config = ClusterConfig(dns_cache_config=_cache(), allow_insecure_cluster_options=True)
    cluster.cluster_type.name = "envoy.clusters.dynamic_forward_proxy"
    cluster.cluster_type.typed_config.CopyFrom(typed(config))
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
