"""The HTTP routes of a VirtualService, for one listener port: encoded once, shared by its virtual hosts.

``RoutesKey`` holds everything besides the VirtualService and the mesh settings that the bytes depend on, so clients
for which the same matches apply share the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, WeightedCluster
from google.protobuf.message import Message

from controlplane.apis.virtual_service import Destination, HTTPMatchRequest, HTTPRoute, HTTPRouteDestination
from controlplane.engine.recording import query
from controlplane.model.cluster_names import outbound_name
from controlplane.model.objects import ObjectKey
from controlplane.registry.store import View
from controlplane.registry.virtual_services import ResolvedVirtualService, virtual_service
from controlplane.translate.routes.cors import CORS_FILTER, cors_policy
from controlplane.translate.routes.defaults import RouteDefaults, route_defaults, unlimited
from controlplane.translate.routes.fault import FAULT_FILTER, fault
from controlplane.translate.routes.headers import add_header_operations, authority
from controlplane.translate.routes.matches import is_catch_all, route_match
from controlplane.translate.routes.mirrors import mirror_policies
from controlplane.translate.routes.redirects import direct_response_action, redirect_action
from controlplane.translate.routes.retries import retry_policy
from controlplane.translate.routes.rewrites import add_path_rewrite
from controlplane.translate.routes.sessions import SESSION_FILTER, Sessions, first_session, session_settings
from controlplane.translate.sound import is_sound

_NO_DESTINATION = 503
_ADVERTISED_SECONDS = 86400


class Resolved(NamedTuple):
    """Where a destination host leads when that is not simply itself at the listener's port."""

    host: str
    target: str
    port: int


class RoutesKey(NamedTuple):
    """One VirtualService as one kind of client sees it at one port.

    ``matches`` are (index of the rule, index of the match or -1 for none) that pass the static filters, in order.
    ``resolved`` names the destination hosts that are aliases or lead to another default port, ``hashes`` the encoded
    hash policies by (host, subset, port). ``tls`` says whether the listener terminates TLS, ``http3`` whether its
    port takes HTTP/3 too. ``sessions`` are those of the destinations that have any. ``settings`` are of the proxy's
    own ProxyConfig, as in ``ClientScope``.
    """

    virtual_service: ObjectKey
    port: int
    matches: tuple[tuple[int, int], ...]
    resolved: tuple[Resolved, ...] = ()
    hashes: tuple[tuple[tuple[str, str, int], bytes], ...] = ()
    tls: bool = False
    settings: str = ""
    http3: bool = False
    sessions: Sessions = ()


@dataclass(frozen=True, slots=True)
class EncodedRoute:
    """One Envoy route as bytes; ``catch_all`` where no request passes it by.

    ``rule`` and ``match`` are where it was made from, as in ``RoutesKey.matches``; -1 where no rule did.
    """

    body: bytes
    catch_all: bool
    clusters: frozenset[str]
    rule: int = -1
    match: int = -1


@query
def http_routes(view: View, key: RoutesKey) -> tuple[EncodedRoute, ...]:
    """Return the routes of a VirtualService up to its first catch-all; empty where it is gone."""
    held = virtual_service(view, key.virtual_service)
    if held is None:
        return ()
    builder = _Builder(held, key, route_defaults(view, key.settings))
    routes: list[EncodedRoute] = []
    for rule_index, match_index in key.matches:
        if rule_index >= len(held.http):
            break  # the key is older than the VirtualService: its reader is stale and makes a new one
        rule = held.http[rule_index]
        match = rule.match[match_index] if 0 <= match_index < len(rule.match) else None
        route = builder.route(rule, match)
        described = _described(key, rule_index, match_index)
        if route is None or not is_sound(view, route, described, lambda _: (key.virtual_service,)):
            continue
        catch_all = is_catch_all(route.match)
        body = route.SerializeToString(deterministic=True)
        routes.append(EncodedRoute(body, catch_all, _clusters(route), rule_index, match_index))
        if catch_all:
            break
    return tuple(routes)


def _described(key: RoutesKey, rule: int, match: int) -> str:
    at = f".match[{match}]" if match >= 0 else ""
    return f"route spec.http[{rule}]{at} of {key.virtual_service}"


def _clusters(route: Route) -> frozenset[str]:
    if not route.HasField("route"):
        return frozenset()
    action = route.route
    names = {action.cluster, *(cluster.name for cluster in action.weighted_clusters.clusters)}
    names.update(policy.cluster for policy in action.request_mirror_policies)
    return frozenset(names - {""})


class _Builder:
    """Translates the rules of one VirtualService under one key."""

    def __init__(self, held: ResolvedVirtualService, key: RoutesKey, defaults: RouteDefaults) -> None:
        self._held = held
        self._key = key
        self._defaults = defaults
        self._resolved = {entry.host: entry for entry in key.resolved}
        self._hashes = dict(key.hashes)

    def route(self, rule: HTTPRoute, match: HTTPMatchRequest | None) -> Route | None:
        """Return the route for one rule and match; ``None`` where it has no action Envoy could carry out."""
        derived = bool(self._held.semantics)
        route = Route(name=_name(rule, match), match=route_match(match, derived=derived))
        if match is not None and match.stat_prefix:
            route.stat_prefix = match.stat_prefix
        add_header_operations(route, rule.headers)
        if rule.redirect is not None:
            redirect = redirect_action(rule.redirect, self._key.port, tls=self._key.tls)
            if redirect is None:
                return None
            route.redirect.CopyFrom(redirect)
        elif rule.direct_response is not None:
            route.direct_response.CopyFrom(direct_response_action(rule.direct_response))
        elif rule.route:
            self._forward(route, rule)
            if self._key.sessions:
                self._keep_session(route, rule)
        else:
            return None
        if self._key.http3:
            _advertise_http3(route, self._key.port)
        if rule.fault is not None:
            _add_filter(route, FAULT_FILTER, fault(rule.fault))
        if rule.cors_policy is not None:
            _add_filter(route, CORS_FILTER, cors_policy(rule.cors_policy))
        route.metadata.filter_metadata["istio"].update({"config": self._held.config_path})
        route.decorator.operation = self._operation(route)
        return route

    def _keep_session(self, route: Route, rule: HTTPRoute) -> None:
        found = first_session(self._key.sessions, (entry.destination for entry in rule.route))
        if found:
            route.typed_per_filter_config[SESSION_FILTER].CopyFrom(session_settings(found))

    def _forward(self, route: Route, rule: HTTPRoute) -> None:
        chosen = [entry for entry in rule.route if entry.weight > 0] if len(rule.route) > 1 else list(rule.route)
        if not chosen:
            route.direct_response.status = _NO_DESTINATION  # Envoy refuses an empty choice
            return
        action = unlimited(route.route)
        if rule.timeout is not None:
            action.timeout.FromTimedelta(rule.timeout)
            action.max_grpc_timeout.FromTimedelta(rule.timeout)
        if self._held.semantics == "gateway":
            action.cluster_not_found_response_code = RouteAction.INTERNAL_SERVER_ERROR
        if rule.rewrite is not None:
            add_path_rewrite(action, rule.rewrite, route.match, whole_segments=self._held.semantics == "gateway")
            action.append_x_forwarded_host = self._defaults.forwarded_host
        literal = (rule.rewrite.authority if rule.rewrite is not None else "") or authority(rule.headers)
        if len(rule.route) == 1:
            literal = literal or authority(rule.route[0].headers)
            action.cluster = self._cluster(rule.route[0].destination)
            add_header_operations(route, rule.route[0].headers)
        else:
            action.weighted_clusters.clusters.extend(self._weighted(entry) for entry in chosen)
        if literal:
            action.host_rewrite_literal = literal
        action.request_mirror_policies.extend(mirror_policies(rule, self._cluster))
        self._hash_and_retry(action, rule, chosen)

    def _hash_and_retry(self, action: RouteAction, rule: HTTPRoute, chosen: Iterable[HTTPRouteDestination]) -> None:
        hashes = [found for entry in chosen if (found := self._hashes.get(_hash_key(entry.destination)))]
        for found in hashes:
            action.hash_policy.add().ParseFromString(found)
        keeps_host = len(rule.route) == 1 and bool(hashes)
        retry = retry_policy(rule.retries or self._defaults.retry, keeps_host=keeps_host)
        if retry is not None:
            action.retry_policy.CopyFrom(retry)

    def _weighted(self, entry: HTTPRouteDestination) -> WeightedCluster.ClusterWeight:
        out = WeightedCluster.ClusterWeight(name=self._cluster(entry.destination))
        out.weight.value = entry.weight
        add_header_operations(out, entry.headers)
        literal = authority(entry.headers)
        if literal:
            out.host_rewrite_literal = literal
        return out

    def _cluster(self, destination: Destination) -> str:
        entry = self._resolved.get(destination.host)
        host, port = (entry.target, entry.port) if entry is not None else (destination.host, self._key.port)
        if destination.port is not None and destination.port.number:
            port = destination.port.number
        return outbound_name(port, destination.subset, host or "UnknownService")

    def _operation(self, route: Route) -> str:
        """Return the name of the route's spans: the cluster's host and port, or the VirtualService's, and the path."""
        path = _path(route.match)
        parts = route.route.cluster.split("|")
        if len(parts) == 4:  # noqa: PLR2004 - direction, port, subset, host
            return f"{parts[3]}:{parts[1]}{path}"
        return f"{self._held.key.name}:{self._key.port}{path}"


def _hash_key(destination: Destination) -> tuple[str, str, int]:
    return (destination.host, destination.subset, destination.port.number if destination.port is not None else 0)


def _advertise_http3(route: Route, port: int) -> None:
    """Tell clients that the same port takes HTTP/3. Reference: RFC 7838, section 3."""
    header = route.response_headers_to_add.add().header
    header.key, header.value = "alt-svc", f'h3=":{port}"; ma={_ADVERTISED_SECONDS}'


def _name(rule: HTTPRoute, match: HTTPMatchRequest | None) -> str:
    return f"{rule.name}.{match.name}" if match is not None and match.name else rule.name


def _add_filter(route: Route, name: str, config: Message) -> None:
    route.typed_per_filter_config[name].Pack(config, deterministic=True)


def _path(match: RouteMatch) -> str:
    kind = match.WhichOneof("path_specifier")
    if kind == "prefix":
        return f"{match.prefix}*"
    if kind == "path":
        return str(match.path)
    if kind == "safe_regex":
        return str(match.safe_regex.regex)
    return "/*"
