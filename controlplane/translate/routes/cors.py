"""Cross-origin policies of routes."""

from __future__ import annotations

from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy as EnvoyCorsPolicy
from envoy.type.v3.percent_pb2 import FractionalPercent

from controlplane.apis.virtual_service import CorsPolicy, UnmatchedPreflights
from controlplane.translate.routes.matches import string_matcher

CORS_FILTER = "envoy.filters.http.cors"


def cors_policy(cors: CorsPolicy) -> EnvoyCorsPolicy:
    """Translate a cross-origin policy; lists become comma-separated text, ``max_age`` whole seconds.

    A preflight whose origin is not allowed is forwarded to the service unless the policy says ``IGNORE``.
    """
    out = EnvoyCorsPolicy(
        allow_methods=",".join(cors.allow_methods),
        allow_headers=",".join(cors.allow_headers),
        expose_headers=",".join(cors.expose_headers),
    )
    if cors.allow_origins:
        out.allow_origin_string_match.extend(string_matcher(origin) for origin in cors.allow_origins)
    else:
        for origin in cors.allow_origin:
            out.allow_origin_string_match.add(exact=origin)
    if cors.max_age is not None:
        out.max_age = str(int(cors.max_age.total_seconds()))
    if cors.allow_credentials is not None:
        out.allow_credentials.value = cors.allow_credentials
    out.filter_enabled.default_value.numerator = 100
    out.filter_enabled.default_value.denominator = FractionalPercent.HUNDRED
    out.forward_not_matching_preflights.value = cors.unmatched_preflights is not UnmatchedPreflights.IGNORE
    return out
