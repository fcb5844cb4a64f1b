"""What a route does with a request: weights, rewrites, redirects, timeouts, mirrors.

Reference: envoy.config.route.v3.RouteAction, RedirectAction and DirectResponseAction.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from controlplane.simulate.call import UnsupportedError
from controlplane.simulate.request import Request
from controlplane.simulate.text_matching import compiled

REDIRECT_STATUSES = (301, 302, 303, 307, 308)
"""In the order of RedirectAction.RedirectResponseCode."""
_DEFAULT_TIMEOUT = 15.0
"""Seconds; what a route without ``timeout`` has."""


class Chosen(NamedTuple):
    """One cluster of an action: its share of the calls, and the host that the server sees."""

    cluster: str
    share: Fraction
    host: str = ""


def chosen(action: Any, host: str = "") -> list[Chosen]:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the clusters of a route action or of a TCP proxy, in their order; the shares add up to 1."""
    literal = getattr(action, "host_rewrite_literal", "") or host
    if not action.HasField("weighted_clusters"):
        kind = action.WhichOneof("cluster_specifier")
        if kind != "cluster":
            raise UnsupportedError(f"a cluster that is chosen by {kind}")
        return [Chosen(action.cluster, Fraction(1), literal)]
    weights: dict[tuple[str, str], int] = {}
    for one in action.weighted_clusters.clusters:
        key = one.name, getattr(one, "host_rewrite_literal", "") or literal
        weights[key] = weights.get(key, 0) + (one.weight if isinstance(one.weight, int) else one.weight.value)
    total = sum(weights.values())
    return [Chosen(name, Fraction(weight, total), to) for (name, to), weight in weights.items() if weight]


def rewritten(route: Any, request: Request) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the path, with its query, that the server sees."""
    return _path_rewritten(route.route, route.match, request)


def _path_rewritten(action: Any, match: Any, request: Request) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    path, rest = request.path, request.headers[":path"][len(request.path) :]
    if action.prefix_rewrite:
        matched = match.prefix or match.path_separated_prefix or match.path or path
        return f"{action.prefix_rewrite}{path[len(matched) :]}{rest}"
    if action.HasField("regex_rewrite"):
        pattern = compiled(action.regex_rewrite.pattern.regex)
        return f"{pattern.sub(action.regex_rewrite.substitution, path)}{rest}"
    return request.headers[":path"]


def location(route: Any, request: Request) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the address that a redirect leads to."""
    redirect = route.redirect
    came_by = request.headers["x-forwarded-proto"]
    scheme = redirect.scheme_redirect or ("https" if redirect.https_redirect else request.headers[":scheme"])
    port = f":{redirect.port_redirect}" if redirect.port_redirect else ""
    host = redirect.host_redirect or _own_host(request.headers[":authority"], came_by, scheme, port)
    return f"{scheme}://{host}{port}{_redirected_path(redirect, route.match, request)}"


def _own_host(authority: str, came_by: str, scheme: str, port: str) -> str:
    """Return the host of the request, without a port that the new scheme or port makes wrong."""
    at = authority.rfind("]:") + 1 if authority.startswith("[") else authority.rfind(":")
    if at <= 0:
        return authority
    stated = authority[at:]
    implied = scheme != came_by and (came_by, stated) in {("https", ":443"), ("http", ":80")}
    return authority[:at] if port or implied else authority


def _redirected_path(redirect: Any, match: Any, request: Request) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    if redirect.path_redirect:
        path = str(redirect.path_redirect)
        if "?" in path or redirect.strip_query or "?" not in request.headers[":path"]:
            return path
        return f"{path}?{request.query}"
    path = _path_rewritten(redirect, match, request)
    return path.partition("?")[0] if redirect.strip_query else path


def timeout(action: Any) -> float:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the timeout in seconds, 0 for none."""
    return float(action.timeout.ToTimedelta().total_seconds()) if action.HasField("timeout") else _DEFAULT_TIMEOUT


def hash_shown(policy: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return what a hash policy hashes, as a person writes it."""
    match policy.WhichOneof("policy_specifier"):
        case "header":
            return f"header {policy.header.header_name}"
        case "cookie":
            return f"cookie {policy.cookie.name}"
        case "query_parameter":
            return f"query parameter {policy.query_parameter.name}"
        case "connection_properties":
            return "source address"
    return str(policy.WhichOneof("policy_specifier"))
