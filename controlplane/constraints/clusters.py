"""What Envoy checks of a cluster when it loads it: that its kind, its addresses and its load balancing go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Wrong = Iterator[tuple[str, str]]

_LEAST_RING, _MOST_RING = 1024, 8 << 20
_LB_PACKAGE = "envoy.extensions.load_balancing_policies."


def cluster_faults(cluster: Any) -> Wrong:  # noqa: ANN401 - envoy.config.cluster.v3.Cluster, here and below
    """Check a cluster of one of Envoy's own kinds; what extensions find by themselves is not known here."""
    if cluster.HasField("cluster_type"):
        return
    kind = cluster.type
    if kind == cluster.EDS:
        if not (cluster.HasField("eds_cluster_config") and cluster.eds_cluster_config.HasField("eds_config")):
            yield "eds_cluster_config.eds_config", "is required where type is EDS"
        elif cluster.eds_cluster_config.eds_config.HasField("self"):
            yield "eds_cluster_config.eds_config.self", "is no source of endpoints"
    else:
        yield from _not_discovered(cluster, kind)
    hashed = cluster.common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing
    if hashed and kind != cluster.STRICT_DNS:
        path = "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing"
        yield path, f"is not for type {cluster.DiscoveryType.Name(kind)}"
    for index, each in enumerate(cluster.circuit_breakers.per_host_thresholds):
        if any(field.name not in {"priority", "max_connections"} for field, _ in each.ListFields()):
            yield f"circuit_breakers.per_host_thresholds[{index}]", "may state max_connections alone"
    yield from _balancing(cluster, kind)


def _not_discovered(cluster: Any, kind: int) -> Wrong:  # noqa: ANN401
    """Check what a cluster states of its endpoints, if it is not told of them."""
    name = cluster.DiscoveryType.Name(kind)
    if cluster.HasField("eds_cluster_config"):
        yield "eds_cluster_config", f"is not for type {name}"
    stated = cluster.HasField("load_assignment")
    if stated and kind not in {cluster.STATIC, cluster.STRICT_DNS, cluster.LOGICAL_DNS}:
        yield "load_assignment", f"is not for type {name}"
    if kind == cluster.LOGICAL_DNS:
        count = sum(len(each.lb_endpoints) for each in cluster.load_assignment.endpoints)
        if count != 1:
            yield "load_assignment", f"must have one endpoint where type is {name}, it has {count}"


def _balancing(cluster: Any, kind: int) -> Wrong:  # noqa: ANN401
    policy = cluster.lb_policy
    subsets = cluster.HasField("lb_subset_config")
    if cluster.HasField("load_balancing_policy"):
        named = [each.typed_extension_config.typed_config.type_url for each in cluster.load_balancing_policy.policies]
        if not any(_LB_PACKAGE in each for each in named):
            yield "load_balancing_policy.policies", "none of them is one that Envoy has"
        if subsets or cluster.WhichOneof("lb_config") is not None:
            yield "load_balancing_policy", "is not for a cluster with settings of another way of balancing"
        return
    provided = policy == cluster.CLUSTER_PROVIDED
    if policy == cluster.LOAD_BALANCING_POLICY_CONFIG:
        yield "load_balancing_policy", "is required where lb_policy is LOAD_BALANCING_POLICY_CONFIG"
    elif provided != (kind == cluster.ORIGINAL_DST):
        name = cluster.DiscoveryType.Name(kind)
        yield (
            "lb_policy",
            f"CLUSTER_PROVIDED is not for type {name}"
            if provided
            else f"must be CLUSTER_PROVIDED where type is {name}",
        )
    if not subsets:
        return
    weighted = cluster.common_lb_config.HasField("locality_weighted_lb_config")
    if cluster.lb_subset_config.locality_weight_aware and not weighted:
        yield "common_lb_config.locality_weighted_lb_config", "is required where lb_subset_config is aware of weights"
    if provided and cluster.lb_subset_config.subset_selectors:
        yield "lb_subset_config", "is not for a cluster whose lb_policy is CLUSTER_PROVIDED"


def ring_faults(ring: Any) -> Wrong:  # noqa: ANN401 - any message with sizes of a ring
    """Check the sizes of a hash ring: what is not stated is 1,024 and 8,388,608."""
    least = ring.minimum_ring_size.value if ring.HasField("minimum_ring_size") else _LEAST_RING
    most = ring.maximum_ring_size.value if ring.HasField("maximum_ring_size") else _MOST_RING
    if least > most:
        yield "maximum_ring_size", f"{most} is below the minimum of {least}"


def subset_selector_faults(selector: Any) -> Wrong:  # noqa: ANN401 - a LbSubsetSelector
    """Check the keys that a subset falls back to: some of its own, and only where it does."""
    kind = selector.LbSubsetSelectorFallbackPolicy.Name(selector.fallback_policy)
    keys, fewer = set(selector.keys), set(selector.fallback_keys_subset)
    if kind != "KEYS_SUBSET":
        if fewer:
            yield "fallback_keys_subset", f"is not for a fallback_policy of {kind}"
    elif not fewer or not fewer < keys:
        yield "fallback_keys_subset", "must be some of the keys and not all of them"
