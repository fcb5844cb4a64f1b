"""What every route depends on: mesh-wide settings, the default route of a service, the answer to unknown hosts."""

from __future__ import annotations

from dataclasses import dataclass

from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost

from controlplane.apis.virtual_service import HTTPRetry
from controlplane.engine.recording import query
from controlplane.model.cluster_names import DYNAMIC_DNS, PASSTHROUGH, outbound_name
from controlplane.registry.mesh import mesh_config
from controlplane.registry.proxy_settings import proxy_config
from controlplane.registry.scopes import OutboundPolicy
from controlplane.registry.store import View
from controlplane.translate.routes.retries import DEFAULT_RETRY, retry_policy
from controlplane.translate.templates import Template

_BAD_GATEWAY = 502


@dataclass(frozen=True, slots=True)
class RouteDefaults:
    """The part of the mesh configuration that routes depend on.

    ``attempt_count`` asks for the header ``x-envoy-attempt-count``, ``forwarded_host`` for ``x-forwarded-host``
    where the authority is rewritten. ``retry`` applies where a route states none.
    """

    retry: HTTPRetry = DEFAULT_RETRY
    attempt_count: bool = True
    forwarded_host: bool = False


@query
def route_defaults(view: View, settings: str) -> RouteDefaults:
    """Return what routes take from the mesh configuration, so that its other changes do not reach them.

    ``settings`` are the proxy's own.
    """
    headers = proxy_config(view, settings).proxy_headers
    attempts = headers.attempt_count if headers is not None else None
    forwarded = headers.x_forwarded_host if headers is not None else None
    return RouteDefaults(
        retry=mesh_config(view).default_http_retry_policy or DEFAULT_RETRY,
        attempt_count=attempts is None or not attempts.disabled,
        forwarded_host=forwarded is not None and bool(forwarded.enabled),
    )


def unlimited(action: RouteAction) -> RouteAction:
    """Write the timeouts of an action as zero, which lifts Envoy's own default of 15 seconds; return it."""
    action.timeout.SetInParent()
    action.max_grpc_timeout.SetInParent()
    return action


_CLUSTER, _OPERATION = "mark-of-the-cluster", "mark-of-the-operation"


@query
def default_routes(view: View, settings: str) -> Template:
    """Return what the default routes of all services have in common: all but the cluster and the operation."""
    defaults = route_defaults(view, settings)
    action = unlimited(RouteAction(cluster=_CLUSTER))
    retry = retry_policy(defaults.retry)
    if retry is not None:
        action.retry_policy.CopyFrom(retry)
    route = Route(name="default", match=RouteMatch(prefix="/"), route=action)
    route.decorator.operation = _OPERATION
    return Template.of(route.SerializeToString(deterministic=True), (_CLUSTER, _OPERATION))


def default_route(view: View, hostname: str, port: int, settings: str, hash_policy: bytes = b"") -> bytes:
    """Return the route to a service port that no VirtualService claims; ``hash_policy`` is encoded, or empty."""
    body = default_routes(view, settings).filled((outbound_name(port, "", hostname), f"{hostname}:{port}/*"))
    if not hash_policy:
        return body
    route = Route.FromString(body)
    route.route.hash_policy.add().ParseFromString(hash_policy)
    return bytes(route.SerializeToString(deterministic=True))


def catch_all(policy: OutboundPolicy, defaults: RouteDefaults) -> VirtualHost:
    """Return the virtual host for hosts that nothing else names: passed on, or refused with 502."""
    if policy.mode == "ALLOW_ANY_DYNAMIC_DNS":
        name, cluster = "allow_any_dynamic_dns", DYNAMIC_DNS
    elif policy.mode == "ALLOW_ANY":
        name, cluster = "allow_any", policy.egress_proxy or PASSTHROUGH
    else:
        name, cluster = "block_all", ""
    route = Route(name=name, match=RouteMatch(prefix="/"))
    if cluster:
        route.route.CopyFrom(unlimited(RouteAction(cluster=cluster)))
        route.route.append_x_forwarded_host = defaults.forwarded_host
    else:
        route.direct_response.status = _BAD_GATEWAY
    return VirtualHost(name=name, domains=["*"], routes=[route], include_request_attempt_count=defaults.attempt_count)
