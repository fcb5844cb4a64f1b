"""Traffic policy on a cluster: connection pool, load balancing, outlier detection, HTTP protocol options."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions as HttpOptions
from google.protobuf.duration_pb2 import Duration

from controlplane.apis.destination_rule import BackendUtilization
from controlplane.model.service import Protocol
from controlplane.registry.destination_rules import Policy, is_direct
from controlplane.translate.header_case import PRESERVE_CASE
from controlplane.translate.locality import LocalitySetting

UNLIMITED = 4294967295
#: retries that a budget always allows, and its share in percent, where they are not stated
DEFAULT_RETRY_CONCURRENCY = 3
DEFAULT_RETRY_PERCENT = 20.0
#: number of ``RetryBudget.budget_interval``, and what its value is on the wire
BUDGET_INTERVAL = 3
LENGTH_DELIMITED = 2
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def seconds(duration: Any, value: timedelta) -> None:  # noqa: ANN401 - a protobuf Duration
    """Set a protobuf duration."""
    duration.FromTimedelta(value)


def circuit_breakers(cluster: Cluster, policy: Policy) -> None:
    """Set the thresholds; everything unstated is unlimited, as zero is. Reference: CircuitBreakers.Thresholds."""
    threshold = cluster.circuit_breakers.thresholds.add()
    pool = policy.connection_pool
    tcp, http = (pool.tcp, pool.http) if pool is not None else (None, None)
    threshold.max_connections.value = (tcp.max_connections if tcp is not None else 0) or UNLIMITED
    threshold.max_pending_requests.value = (http.http1_max_pending_requests if http is not None else 0) or UNLIMITED
    threshold.max_requests.value = (http.http2_max_requests if http is not None else 0) or UNLIMITED
    threshold.max_retries.value = (http.max_retries if http is not None else 0) or UNLIMITED
    budget = policy.retry_budget
    if budget is not None:
        percent = budget.percent
        threshold.retry_budget.budget_percent.value = DEFAULT_RETRY_PERCENT if percent is None else percent
        threshold.retry_budget.min_retry_concurrency.value = budget.min_retry_concurrency or DEFAULT_RETRY_CONCURRENCY
        if budget.budget_interval is not None:
            _budget_interval(threshold.retry_budget, budget.budget_interval)


def _budget_interval(retry_budget: Any, interval: timedelta) -> None:  # noqa: ANN401 - a protobuf RetryBudget
    """Count the requests of the last while too, not only those at hand. Reference: RetryBudget.budget_interval.

    The field is younger than the messages we have, so it is written as they keep what they do not know: its number,
    then a length-delimited ``Duration``. Envoys that do not know it skip it.
    """
    value = Duration()
    value.FromTimedelta(interval)
    encoded = value.SerializeToString(deterministic=True)
    retry_budget.MergeFromString(bytes((BUDGET_INTERVAL << 3 | LENGTH_DELIMITED, len(encoded))) + encoded)


def tcp_settings(cluster: Cluster, policy: Policy, keepalive: Any) -> None:  # noqa: ANN401 - an apis model or None
    """Set connect timeout and TCP keepalive; the rule overrides single attributes of the mesh's keepalive."""
    pool = policy.connection_pool
    tcp = pool.tcp if pool is not None else None
    if tcp is not None and tcp.connect_timeout is not None:
        seconds(cluster.connect_timeout, tcp.connect_timeout)
    stated = tcp.tcp_keepalive if tcp is not None else None
    layers = [layer for layer in (keepalive, stated) if layer is not None]
    if not layers:
        return
    target = cluster.upstream_connection_options.tcp_keepalive
    target.SetInParent()
    for layer in layers:
        if layer.probes:
            target.keepalive_probes.value = layer.probes
        if layer.time is not None:
            target.keepalive_time.value = int(layer.time.total_seconds())
        if layer.interval is not None:
            target.keepalive_interval.value = int(layer.interval.total_seconds())


def http_options(
    protocol: Protocol, policy: Policy, mesh_upgrade: str | None, *, detects: bool = True
) -> HttpOptions | None:
    """Return the upstream HTTP options, ``None`` where nothing needs them.

    ``mesh_upgrade`` is the mesh's ``h2UpgradePolicy``; ``None`` on the inbound side, where no upgrade applies.
    ``detects`` is false for gateways: their clients may choose HTTP/2 by themselves, which says nothing of the server.
    Reference: envoy.extensions.upstreams.http.v3.HttpProtocolOptions.
    """
    options = HttpOptions()
    needed = False
    if protocol.is_http2:
        options.explicit_http_config.http2_protocol_options.SetInParent()
        needed = True
    elif protocol is Protocol.AUTO and detects:
        downstream_protocol(options)
        needed = True
    pool = policy.connection_pool
    http = pool.http if pool is not None else None
    tcp = pool.tcp if pool is not None else None
    upgrade = str(http.h2_upgrade_policy or "DEFAULT") if http is not None else "DEFAULT"
    outbound = mesh_upgrade is not None
    use_client = bool(outbound and http is not None and http.use_client_protocol)
    wants_http2 = upgrade == "UPGRADE" or (upgrade == "DEFAULT" and protocol.is_http and mesh_upgrade == "UPGRADE")
    if outbound and wants_http2 and not use_client and not options.WhichOneof("upstream_protocol_options"):
        options.explicit_http_config.http2_protocol_options.SetInParent()
        needed = True
    needed |= _pool_options(options, http, tcp)
    if use_client:
        downstream_protocol(options)
        needed = True
    needed |= _error_matcher(options, policy)
    return options if needed else None


def preserve_header_case(options: HttpOptions | None, protocol: Protocol) -> HttpOptions | None:
    """Keep the case of HTTP/1.1 header names where the port may speak it. Reference: ProxyConfig.proxyHeaders."""
    if protocol not in {Protocol.HTTP, Protocol.AUTO}:
        return options
    kept = options if options is not None else HttpOptions()
    if kept.WhichOneof("upstream_protocol_options") == "use_downstream_protocol_config":
        kept.use_downstream_protocol_config.http_protocol_options.header_key_format.CopyFrom(PRESERVE_CASE)
    elif not kept.explicit_http_config.HasField("http2_protocol_options"):
        kept.explicit_http_config.http_protocol_options.header_key_format.CopyFrom(PRESERVE_CASE)
    return kept


def downstream_protocol(options: HttpOptions) -> None:
    """Speak upstream what the client spoke."""
    options.use_downstream_protocol_config.http_protocol_options.SetInParent()
    options.use_downstream_protocol_config.http2_protocol_options.SetInParent()


def _pool_options(options: HttpOptions, http: Any, tcp: Any) -> bool:  # noqa: ANN401 - apis models or None
    common = options.common_http_protocol_options
    needed = False
    idle = http.idle_timeout if http is not None else None
    if idle is None and tcp is not None:
        idle = tcp.idle_timeout
    if idle is not None:
        seconds(common.idle_timeout, idle)
        needed = True
    if tcp is not None and tcp.max_connection_duration is not None:
        seconds(common.max_connection_duration, tcp.max_connection_duration)
        needed = True
    if http is None:
        return needed
    if http.max_requests_per_connection:
        common.max_requests_per_connection.value = http.max_requests_per_connection
        needed = True
    if http.max_concurrent_streams or http.http2_keep_alive is not None:
        common.SetInParent()
        needed = True
        if options.explicit_http_config.HasField("http2_protocol_options"):
            http2 = options.explicit_http_config.http2_protocol_options
            if http.max_concurrent_streams:
                http2.max_concurrent_streams.value = http.max_concurrent_streams
            if http.http2_keep_alive is not None:
                _keepalive(http2, http.http2_keep_alive)
    return needed


def _keepalive(http2: Any, stated: Any) -> None:  # noqa: ANN401 - a protobuf message and an apis model
    if stated.interval is not None:
        seconds(http2.connection_keepalive.interval, stated.interval)
    if stated.timeout is not None:
        seconds(http2.connection_keepalive.timeout, stated.timeout)


def _error_matcher(options: HttpOptions, policy: Policy) -> bool:
    codes = getattr(policy.outlier_detection, "outlier_detection_http_error_codes", None) or ()
    if not codes:
        return False
    matchers = []
    for code in codes:
        header = route_components_pb2.HeaderMatcher(name=":status")
        header.string_match.exact = str(code)
        matchers.append(header)
    target = options.outlier_detection.error_matcher
    if len(matchers) == 1:
        target.http_response_headers_match.headers.append(matchers[0])
    else:
        for header in matchers:
            target.or_match.rules.add().http_response_headers_match.headers.append(header)
    return True


def put_http_options(cluster: Cluster, options: HttpOptions | None) -> None:
    """Attach the options; an upstream protocol must be chosen, HTTP/1 where none is."""
    if options is None:
        return
    if not options.WhichOneof("upstream_protocol_options"):
        options.explicit_http_config.http_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].Pack(options, deterministic=True)


def load_balancing(cluster: Cluster, policy: Policy) -> None:
    """Set the load-balancing policy. Reference: Cluster.lb_policy."""
    if cluster.type == Cluster.ORIGINAL_DST or cluster.HasField("cluster_type"):
        cluster.lb_policy = Cluster.CLUSTER_PROVIDED
        return
    balancer = policy.load_balancer
    simple = str(balancer.simple or "") if balancer is not None else ""
    if is_direct(policy):
        cluster.type = Cluster.ORIGINAL_DST
        cluster.lb_policy = Cluster.CLUSTER_PROVIDED
        cluster.ClearField("load_assignment")
        cluster.ClearField("eds_cluster_config")
        return
    if balancer is not None and balancer.backend_utilization is not None:
        _by_utilization(cluster, balancer.backend_utilization)
        return
    hashing = balancer.consistent_hash if balancer is not None else None
    if hashing is not None:
        _hashing(cluster, hashing)
        return
    cluster.lb_policy = {"ROUND_ROBIN": Cluster.ROUND_ROBIN, "RANDOM": Cluster.RANDOM}.get(
        simple, Cluster.LEAST_REQUEST
    )
    if balancer is not None and cluster.lb_policy != Cluster.RANDOM:
        _warmup(cluster, balancer)


def _hashing(cluster: Cluster, hashing: Any) -> None:  # noqa: ANN401 - an apis model
    if hashing.maglev is not None:
        cluster.lb_policy = Cluster.MAGLEV
        if hashing.maglev.table_size:
            cluster.maglev_lb_config.table_size.value = hashing.maglev.table_size
        return
    cluster.lb_policy = Cluster.RING_HASH
    if hashing.ring_hash is not None:
        if hashing.ring_hash.minimum_ring_size:
            cluster.ring_hash_lb_config.minimum_ring_size.value = hashing.ring_hash.minimum_ring_size
        return
    cluster.ring_hash_lb_config.minimum_ring_size.value = hashing.minimum_ring_size or 1024


def _warmup(cluster: Cluster, balancer: Any) -> None:  # noqa: ANN401 - an apis model
    round_robin = cluster.lb_policy == Cluster.ROUND_ROBIN
    target = cluster.round_robin_lb_config if round_robin else cluster.least_request_lb_config
    warmup = balancer.warmup
    if warmup is not None:
        slow = target.slow_start_config
        seconds(slow.slow_start_window, warmup.duration)
        slow.aggression.default_value = 1.0 if warmup.aggression is None else warmup.aggression
        slow.aggression.runtime_key = "("
        slow.min_weight_percent.value = 10.0 if warmup.minimum_percent is None else warmup.minimum_percent
    elif balancer.warmup_duration_secs is not None:
        seconds(target.slow_start_config.slow_start_window, balancer.warmup_duration_secs)


def locality_balancing(cluster: Cluster, setting: LocalitySetting) -> None:
    """Set how Envoy treats localities. Reference: Cluster.CommonLbConfig.

    A policy of its own (``load_balancing_policy``) knows none of them: Envoy refuses the two together.
    """
    if cluster.HasField("load_balancing_policy") or cluster.HasField("cluster_type"):
        return
    zones = setting.zones
    if zones is not None:
        target = cluster.common_lb_config.zone_aware_lb_config
        target.SetInParent()
        if zones.min_cluster_size is not None:
            target.min_cluster_size.value = zones.min_cluster_size
        if zones.enabled is False:
            target.routing_enabled.value = 0
    elif setting.weighted:
        cluster.common_lb_config.locality_weighted_lb_config.SetInParent()


def _by_utilization(cluster: Cluster, stated: BackendUtilization) -> None:
    """Weigh endpoints by the load that they report with their responses. Reference: ClientSideWeightedRoundRobin."""
    config = client_side_weighted_round_robin_pb2.ClientSideWeightedRoundRobin()
    for target, value in (
        (config.blackout_period, stated.weight_stabilization_period),
        (config.weight_expiration_period, stated.weight_expiration_period),
        (config.weight_update_period, stated.weight_update_period),
    ):
        if value is not None:
            seconds(target, value)
    config.metric_names_for_computing_utilization.extend(stated.metric_names_for_computing_utilization)
    if stated.error_utilization_penalty_percent:
        config.error_utilization_penalty.value = stated.error_utilization_penalty_percent / 100
    policy = cluster.load_balancing_policy.policies.add().typed_extension_config
    policy.name = "envoy.load_balancing_policies.client_side_weighted_round_robin"
    policy.typed_config.Pack(config, deterministic=True)


def outlier_detection(cluster: Cluster, policy: Policy, *, force_unhealthy: bool) -> None:
    """Set outlier detection and the panic threshold. Reference: OutlierDetection, CommonLbConfig."""
    panic = cluster.common_lb_config.healthy_panic_threshold
    stated = policy.outlier_detection
    if stated is None:
        panic.value = 0
        panic_set(cluster)
        return
    outlier = cluster.outlier_detection
    outlier.enforcing_success_rate.value = 0
    for field, errors in (
        ("consecutive_5xx", stated.consecutive_5xx_errors),
        ("consecutive_gateway_failure", stated.consecutive_gateway_errors),
    ):
        if errors is not None:
            getattr(outlier, field).value = errors
            getattr(outlier, f"enforcing_{field}").value = 100 if errors > 0 else 0
    if stated.interval is not None:
        seconds(outlier.interval, stated.interval)
    if stated.base_ejection_time is not None:
        seconds(outlier.base_ejection_time, stated.base_ejection_time)
    if stated.max_ejection_percent:
        outlier.max_ejection_percent.value = stated.max_ejection_percent
    if stated.split_external_local_origin_errors:
        outlier.split_external_local_origin_errors = True
        outlier.enforcing_local_origin_success_rate.value = 0
        failures = stated.consecutive_local_origin_failures
        if failures:
            outlier.consecutive_local_origin_failure.value = failures
            outlier.enforcing_consecutive_local_origin_failure.value = 100
    panic.value = 0 if force_unhealthy else (stated.min_health_percent or 0)
    panic_set(cluster)


def panic_set(cluster: Cluster) -> None:
    """Keep an explicit zero: absent, Envoy would panic at 50 % healthy hosts."""
    cluster.common_lb_config.healthy_panic_threshold.SetInParent()


def bind_address(cluster: Cluster, address: str, extra: tuple[str, ...] = ()) -> None:
    """Send from this source address: the inbound side recognises its own traffic by it."""
    source = cluster.upstream_bind_config.source_address
    source.address, source.port_value = address, 0
    for other in extra:
        more = cluster.upstream_bind_config.extra_source_addresses.add()
        more.address.address, more.address.port_value = other, 0
