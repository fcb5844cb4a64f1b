"""Rewrites of path and authority."""

from __future__ import annotations

import re  # noqa: TID251 - it escapes, and matches nothing

from envoy.config.route.v3.route_components_pb2 import RouteAction, RouteMatch

from controlplane.apis.virtual_service import HTTPRewrite


def add_path_rewrite(action: RouteAction, rewrite: HTTPRewrite, match: RouteMatch, *, whole_segments: bool) -> None:
    """Set the action's path rewrite; a regular expression wins over ``uri``.

    ``whole_segments`` is true for routes of the Gateway API: to replace a prefix by ``/`` there must not leave a
    double slash, which only an expression can do.
    """
    regex = rewrite.uri_regex_rewrite
    if regex is not None:
        action.regex_rewrite.pattern.regex = regex.match
        action.regex_rewrite.substitution = regex.rewrite
    elif rewrite.uri == "/" and whole_segments and match.path_separated_prefix:
        action.regex_rewrite.pattern.regex = f"^{re.escape(match.path_separated_prefix)}(/?)(.*)"
        action.regex_rewrite.substitution = r"/\2"
    elif rewrite.uri:
        action.prefix_rewrite = rewrite.uri
