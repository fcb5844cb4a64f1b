"""What Envoy checks when it loads a message and no rule of its protos states, by type of message.

Each check yields (path from the message down, reason).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from controlplane.apis.common import MAX_UINT32
from controlplane.apis.validation import cel
from controlplane.apis.validation.formats import format_problem, header_format_problem, log_format_problem
from controlplane.apis.validation.path_template import path_template_problem
from controlplane.apis.validation.regex import envoy_regex_problem, program_size
from controlplane.constraints.addresses import bind_faults, cidr_faults, endpoint_faults, pipe_faults
from controlplane.constraints.clusters import cluster_faults, ring_faults, subset_selector_faults
from controlplane.constraints.extensions import (
    listener_filter_faults,
    lua_faults,
    lua_per_route_faults,
    settings_faults,
)
from controlplane.constraints.fields import is_fixed
from controlplane.constraints.http_filters import HTTP_FILTERS
from controlplane.constraints.last_filters import chain_faults
from controlplane.constraints.listeners import chain_match_faults, listener_faults
from controlplane.constraints.managers import http_manager_faults, route_source_faults, router_faults, zipkin_faults
from controlplane.constraints.network_filters import NETWORK_FILTERS
from controlplane.constraints.route_forms import route_settings_faults
from controlplane.constraints.tls import (
    common_tls_faults,
    downstream_tls_faults,
    upstream_tls_faults,
    validation_faults,
)
from controlplane.constraints.upstreams import upstream_faults
from controlplane.documents.key_sets import key_set_problem

Wrong = Iterator[tuple[str, str]]
Check = Callable[[Any], Wrong]

_FORMATTERS = "envoy.extensions.formatter."
_REQ_WITHOUT_QUERY = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"


def _regex(matcher: Any) -> Wrong:  # noqa: ANN401 - a generated message, here and below
    if problem := envoy_regex_problem(matcher.regex):
        yield "regex", problem
    elif matcher.google_re2.HasField("max_program_size"):
        size, most = program_size(matcher.regex), matcher.google_re2.max_program_size.value
        if size > most:
            yield "regex", f"compiles to a program of {size} instructions, and google_re2.max_program_size is {most}"


def _path_template(config: Any) -> Wrong:  # noqa: ANN401
    if problem := path_template_problem(config.path_template):
        yield "path_template", problem


def _header(header: Any) -> Wrong:  # noqa: ANN401
    if problem := header_format_problem(header.value):
        yield "value", problem


def _added_header(option: Any) -> Wrong:  # noqa: ANN401
    if option.HasField("append") and option.append_action:
        yield "append", "may not stand beside append_action"
    if is_fixed(option.header.key):
        yield "header.key", "cannot be changed here: host, or a header that begins with a colon"


def _format(stated: Any) -> Wrong:  # noqa: ANN401
    """Check a format with its commands; formatters other than that of paths without query may know more commands."""
    kinds = [each.typed_config.type_url.rpartition("/")[2] for each in stated.formatters]
    if any(kind != _REQ_WITHOUT_QUERY for kind in kinds):
        for index, kind in enumerate(kinds):
            if kind.startswith("envoy.") and not kind.startswith(_FORMATTERS):
                yield f"formatters[{index}]", f"must be one of {_FORMATTERS.removesuffix('.')}"
        return
    check = log_format_problem if kinds else format_problem
    for field in ("text_format", "text_format_source.inline_string"):
        owner: Any = stated
        *parents, last = field.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        if problem := check(getattr(owner, last)):
            yield field, problem
    yield from _formatted_struct("json_format", stated.json_format, check)


def _formatted_struct(path: str, struct: Any, check: Callable[[str], str]) -> Wrong:  # noqa: ANN401
    for name, value in struct.fields.items():
        yield from _formatted_value(f"{path}.{name}", value, check)


def _formatted_value(path: str, value: Any, check: Callable[[str], str]) -> Wrong:  # noqa: ANN401
    kind = value.WhichOneof("kind")
    if kind == "string_value" and (problem := check(value.string_value)):
        yield path, problem
    elif kind == "struct_value":
        yield from _formatted_struct(path, value.struct_value, check)
    elif kind == "list_value":
        for index, each in enumerate(value.list_value.values):
            yield from _formatted_value(f"{path}[{index}]", each, check)


def _otel_value(path: str, value: Any) -> Wrong:  # noqa: ANN401
    kind = value.WhichOneof("value")
    if kind == "string_value" and (problem := format_problem(value.string_value)):
        yield path, problem
    elif kind == "array_value":
        for index, each in enumerate(value.array_value.values):
            yield from _otel_value(f"{path}[{index}]", each)
    elif kind == "kvlist_value":
        for each in value.kvlist_value.values:
            yield from _otel_value(f"{path}.{each.key}", each.value)


def _otel_log(config: Any) -> Wrong:  # noqa: ANN401
    if not config.formatters:
        yield from _otel_value("body", config.body)
        for each in config.attributes.values:
            yield from _otel_value(f"attributes.{each.key}", each.value)


def _weighted_clusters(message: Any) -> Wrong:  # noqa: ANN401
    total = sum(cluster.weight.value for cluster in message.clusters)
    if not 0 < total <= MAX_UINT32:
        yield "clusters", f"the sum of weights is {total}, and must be more than 0 and at most {MAX_UINT32}"
    for index, cluster in enumerate(message.clusters):
        if bool(cluster.name) == bool(cluster.cluster_header):
            yield f"clusters[{index}].name", "must be given, or cluster_header, and not both"


def _tcp_weighted_clusters(message: Any) -> Wrong:  # noqa: ANN401
    total = sum(cluster.weight for cluster in message.clusters)
    if total > MAX_UINT32:
        yield "clusters", f"the sum of weights is {total}, and must be at most {MAX_UINT32}"


def _rules_of_a_tree(stated: Any) -> Wrong:  # noqa: ANN401
    for field in ("matcher", "shadow_matcher"):
        if getattr(stated, field).on_no_match.keep_matching:
            yield f"{field}.on_no_match.keep_matching", "may not be true: there is nothing more to match"


def _mutation(stated: Any) -> Wrong:  # noqa: ANN401
    if stated.HasField("append") == bool(stated.remove):
        yield "append", "must be given, or remove, and not both"


def _mirror(policy: Any) -> Wrong:  # noqa: ANN401
    if bool(policy.cluster) == bool(policy.cluster_header):
        yield "cluster", "must be given, or cluster_header, and not both"


def _expression(filter_: Any) -> Wrong:  # noqa: ANN401
    if problem := cel.envoy_problem(filter_.expression):
        yield "expression", f"is not a CEL expression that Envoy takes: {problem}"


def _api_source(source: Any) -> Wrong:  # noqa: ANN401
    if source.api_type in {source.AGGREGATED_GRPC, source.AGGREGATED_DELTA_GRPC}:
        yield "api_type", f"{source.ApiType.Name(source.api_type)} is for the bootstrap alone"
    elif source.api_type == source.REST and not source.cluster_names:
        yield "cluster_names", "is required for REST"
    elif source.api_type in {source.GRPC, source.DELTA_GRPC} and not source.grpc_services:
        yield "grpc_services", "is required for gRPC"


def _token_provider(provider: Any) -> Wrong:  # noqa: ANN401
    """Check the keys that tokens are verified with; a file is the proxy's."""
    stated = provider.local_jwks.WhichOneof("specifier") if provider.HasField("local_jwks") else None
    if stated in {"inline_string", "inline_bytes"}:
        text = getattr(provider.local_jwks, stated)
        problem = key_set_problem(text if isinstance(text, str) else text.decode(errors="replace"))
        if problem:
            yield f"local_jwks.{stated}", problem


def _cluster(cluster: Any) -> Wrong:  # noqa: ANN401
    yield from cluster_faults(cluster)
    yield from upstream_faults(cluster)
    if cluster.type == cluster.STATIC and not cluster.HasField("cluster_type"):
        yield from endpoint_faults("load_assignment.", cluster.load_assignment)


def _repeated_domains(hosts: Iterable[tuple[str, Iterable[str]]]) -> dict[str, list[str]]:
    """Return the domains that an earlier virtual host has, by the name of the virtual host, in order.

    Letters of either case are the same to Envoy.
    """
    taken: set[str] = set()
    found: dict[str, list[str]] = {}
    for name, domains in hosts:
        for domain in domains:
            if domain.lower() in taken:
                found.setdefault(name, []).append(domain)
            taken.add(domain.lower())
    return found


def _plugins(configuration: Any) -> Wrong:  # noqa: ANN401
    """Find routes that let a plugin choose their cluster which the configuration does not state."""
    stated = {each.extension.name for each in configuration.cluster_specifier_plugins}
    for index, host in enumerate(configuration.virtual_hosts):
        for position, route in enumerate(host.routes):
            named = route.route.cluster_specifier_plugin
            if route.route.WhichOneof("cluster_specifier") == "cluster_specifier_plugin" and named not in stated:
                path = f"virtual_hosts[{index}].routes[{position}].route.cluster_specifier_plugin"
                yield path, f"{named!r} is none of cluster_specifier_plugins"


def _route_configuration(configuration: Any) -> Wrong:  # noqa: ANN401
    repeated = _repeated_domains((host.name, host.domains) for host in configuration.virtual_hosts)
    for index, host in enumerate(configuration.virtual_hosts):
        if host.name in repeated:
            yield f"virtual_hosts[{index}].domains", f"others have {', '.join(repeated[host.name])} already"
        if host.HasField("matcher") and host.routes:
            yield f"virtual_hosts[{index}].matcher", "may not stand beside routes"
        for position, each in enumerate(host.virtual_clusters):
            if not each.headers:
                yield f"virtual_hosts[{index}].virtual_clusters[{position}].headers", "is required"
    if configuration.validate_clusters.value:
        yield "validate_clusters", "must not be true: clusters come and go"
    yield from _plugins(configuration)
    yield from route_settings_faults(configuration)


CHECKS: Mapping[str, Check] = {
    "envoy.type.matcher.v3.RegexMatcher": _regex,
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": _path_template,
    "envoy.config.core.v3.HeaderValue": _header,
    "envoy.config.core.v3.HeaderValueOption": _added_header,
    "envoy.config.core.v3.KeyValueMutation": _mutation,
    "envoy.config.core.v3.SubstitutionFormatString": _format,
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig": _otel_log,
    "envoy.config.route.v3.WeightedCluster": _weighted_clusters,
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster": _tcp_weighted_clusters,
    "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext": common_tls_faults,
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": downstream_tls_faults,
    "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext": validation_faults,
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": upstream_tls_faults,
    "envoy.config.core.v3.BindConfig": bind_faults,
    "envoy.config.listener.v3.ListenerFilter": listener_filter_faults,
    "envoy.config.accesslog.v3.AccessLog": settings_faults,
    "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector": subset_selector_faults,
    "envoy.config.cluster.v3.Cluster.RingHashLbConfig": ring_faults,
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash": ring_faults,
    "envoy.config.core.v3.TransportSocket": settings_faults,
    "envoy.config.trace.v3.Tracing.Http": settings_faults,
    "envoy.config.route.v3.Route": route_settings_faults,
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": _mirror,
    "envoy.config.route.v3.VirtualHost": route_settings_faults,
    "envoy.config.route.v3.WeightedCluster.ClusterWeight": route_settings_faults,
    "envoy.config.core.v3.ApiConfigSource": _api_source,
    "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter": _expression,
    "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider": _token_provider,
    "envoy.extensions.filters.http.lua.v3.Lua": lua_faults,
    "envoy.extensions.filters.http.lua.v3.LuaPerRoute": lua_per_route_faults,
    "envoy.config.listener.v3.FilterChain": chain_faults,
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": http_manager_faults,
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds": route_source_faults,
    "envoy.extensions.filters.http.router.v3.Router": router_faults,
    "envoy.config.trace.v3.ZipkinConfig": zipkin_faults,
    "envoy.config.accesslog.v3.ExtensionFilter": settings_faults,
    "envoy.config.route.v3.RetryPolicy.RetryPriority": settings_faults,
    "envoy.config.route.v3.RetryPolicy.RetryHostPredicate": settings_faults,
    "envoy.extensions.filters.http.rbac.v3.RBAC": _rules_of_a_tree,
    **HTTP_FILTERS,
    **NETWORK_FILTERS,
    "envoy.config.listener.v3.FilterChainMatch": chain_match_faults,
    "envoy.config.core.v3.CidrRange": cidr_faults,
    "envoy.config.core.v3.Pipe": pipe_faults,
    "envoy.config.listener.v3.Listener": listener_faults,
    "envoy.config.cluster.v3.Cluster": _cluster,
    "envoy.config.route.v3.RouteConfiguration": _route_configuration,
}
