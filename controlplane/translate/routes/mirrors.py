"""Mirroring: copies of requests to other services."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from envoy.config.route.v3.route_components_pb2 import RouteAction
from envoy.type.v3.percent_pb2 import FractionalPercent

from controlplane.apis.virtual_service import Destination, HTTPRoute, Percent
from controlplane.translate.routes.fault import millionths


def mirror_policies(
    route: HTTPRoute, cluster_of: Callable[[Destination], str]
) -> Iterable[RouteAction.RequestMirrorPolicy]:
    """Yield the mirror policies of a route: ``mirror`` first, then ``mirrors``; a share of zero is none."""
    if route.mirror is not None:
        share = _share(route.mirror_percentage, route.mirror_percent)
        if share.numerator:
            yield _policy(cluster_of(route.mirror), share)
    for mirror in route.mirrors:
        share = _share(mirror.percentage, None)
        if share.numerator:
            yield _policy(cluster_of(mirror.destination), share)


def _share(percentage: Percent | None, percent: int | None) -> FractionalPercent:
    if percentage is not None:
        return millionths(percentage)
    return FractionalPercent(numerator=100 if percent is None else percent, denominator=FractionalPercent.HUNDRED)


def _policy(cluster: str, share: FractionalPercent) -> RouteAction.RequestMirrorPolicy:
    policy = RouteAction.RequestMirrorPolicy(cluster=cluster, disable_shadow_host_suffix_append=True)
    policy.runtime_fraction.default_value.CopyFrom(share)
    policy.trace_sampled.value = False
    return policy
