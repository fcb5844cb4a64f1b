"""Answers that the proxy gives itself: redirects and fixed responses."""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, RedirectAction

from controlplane.apis.virtual_service import HTTPDirectResponse, HTTPRedirect, RedirectPortSelection

_CODES = {
    0: RedirectAction.MOVED_PERMANENTLY,
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


def redirect_action(redirect: HTTPRedirect, port: int, *, tls: bool) -> RedirectAction | None:
    """Translate a redirect; ``None`` for a code that is none.

    ``port`` and ``tls`` are those of the listener: the request's own port and scheme where the redirect asks for
    them. A port that the scheme implies is left out of the new URL.
    """
    code = _CODES.get(redirect.redirect_code)
    if code is None:
        return None
    out = RedirectAction(host_redirect=redirect.authority, response_code=code)
    if redirect.prefix_rewrite:
        out.prefix_rewrite = redirect.prefix_rewrite
    else:
        out.path_redirect = redirect.uri
    if redirect.scheme:
        out.scheme_redirect = redirect.scheme
    stated = redirect.port
    if redirect.derive_port is RedirectPortSelection.FROM_REQUEST_PORT:
        stated = port
    scheme = redirect.scheme or ("https" if tls else "http")
    if stated is not None and _DEFAULT_PORTS.get(scheme) != stated:
        out.port_redirect = stated
    return out


def direct_response_action(response: HTTPDirectResponse) -> DirectResponseAction:
    """Translate a fixed response."""
    out = DirectResponseAction(status=response.status)
    body = response.body
    if body is not None and body.string is not None:
        out.body.inline_string = body.string
    elif body is not None and body.bytes is not None:
        out.body.inline_bytes = body.bytes
    return out
