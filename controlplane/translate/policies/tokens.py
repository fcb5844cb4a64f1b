"""RequestAuthentication as Envoy's JWT filter: which tokens are believed, and what becomes of their claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
    JwtRequirementAndList,
    JwtRequirementOrList,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from controlplane.apis.request_authentication import JWTRule
from controlplane.documents.key_sets import key_set_problem
from controlplane.registry.jwks import FETCH_TIMEOUT, jwks, source_of
from controlplane.registry.providers import remote_cluster
from controlplane.registry.store import View
from controlplane.translate.listeners.extensions import http_filter
from controlplane.translate.policies.matchers import JWT_FILTER, PAYLOAD

#: claims that are lists of words, whatever a rule says
_WORDS = ("permission", "scope")
_CACHE = timedelta(minutes=5)
#: the private key of this one was never kept: what it has to verify is refused
_NOBODY = json.dumps(
    {
        "keys": [
            {
                "e": "AQAB",
                "kty": "RSA",
                "n": "yZGEQl-LeNdU6N_AaPGD1Kl_QVldwahVMUsRqyUDleBS1Kjvsk9lltT8JBt0ruJJ3_wMT1rYPrdTI9vonGrp2l"
                "Zw09QAUYa9gCbMy6crWbmCReBFx4wXKPO-BvtQ4dEULx9wQIanmI5eCqy72rIuI1s89X0_K6wnCf6Q3zYdc9F_"
                "9dlsjbHJdFOEJMpqdWJvILDPXnfvSDpHrWC0tKjEQypZsG_gQ5cRvtjirHvW7JepsivtFFq9o2xeqKr-EZVWVk"
                "WZBEVhGpNRuODgjU8503_jAzVjfTaIZcyo80xPIOrrFjzlViKUqd7u_C75L-EYmHiavYh7WinG_umzNPyy4Q",
            }
        ]
    }
)


def token_filter(view: View, rules: Sequence[JWTRule], *, gateway: bool) -> HttpFilter | None:
    """Return the filter that checks tokens by these rules, ``None`` without any.

    A request without a token passes; whoever wants one asks for its claims in an AuthorizationPolicy. On a gateway the
    route is chosen again by what the token says.
    """
    if not rules:
        return None
    ordered = sorted(rules, key=lambda rule: rule.issuer or "")
    names = [f"origins-{index}" for index in range(len(ordered))]
    config = JwtAuthentication(bypass_cors_preflight=True)
    for name, rule in zip(names, ordered, strict=True):
        config.providers[name].CopyFrom(_provider(view, rule, gateway=gateway))
    entry = config.rules.add(requires=_requirement(names))
    entry.match.prefix = "/"
    return http_filter(JWT_FILTER, config)


def _requirement(names: Sequence[str]) -> JwtRequirement:
    """Return what lets a request pass: one provider's valid token, or no invalid token at all."""
    each = [_any_of(_of(name), JwtRequirement(allow_missing={})) for name in names]
    if len(names) == 1:
        return each[0]
    every = JwtRequirement(requires_all=JwtRequirementAndList(requirements=each))
    return _any_of(*(_of(name) for name in names), every)


def _of(name: str) -> JwtRequirement:
    return JwtRequirement(provider_name=name)


def _any_of(*requirements: JwtRequirement) -> JwtRequirement:
    return JwtRequirement(requires_any=JwtRequirementOrList(requirements=requirements))


def _provider(view: View, rule: JWTRule, *, gateway: bool) -> JwtProvider:
    provider = JwtProvider(
        issuer=rule.issuer or "",
        audiences=rule.audiences,
        forward=rule.forward_original_token,
        forward_payload_header=rule.output_payload_to_header,
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        payload_in_metadata=PAYLOAD,
        clear_route_cache=gateway,
    )
    for header in rule.from_headers:
        provider.from_headers.add(name=header.name, value_prefix=header.prefix)
    for copied in rule.output_claim_to_headers:
        provider.claim_to_headers.add(header_name=copied.header, claim_name=copied.claim)
    words = sorted({*_WORDS, *rule.space_delimited_claims})
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(words)
    cluster = keys_cluster(view, rule)
    if cluster is not None:
        remote = provider.remote_jwks
        remote.http_uri.uri, remote.http_uri.cluster = rule.jwks_uri, cluster
        remote.http_uri.timeout.FromTimedelta(rule.timeout or FETCH_TIMEOUT)
        remote.cache_duration.FromTimedelta(_CACHE)
    else:
        stated = rule.jwks or jwks(view, source_of(rule.jwks_uri, rule.issuer))
        # Envoy refuses the listener for a set without a key that it can use: that verifies nobody either
        provider.local_jwks.inline_string = _NOBODY if not stated or key_set_problem(stated) else stated
    return provider


def keys_cluster(view: View, rule: JWTRule) -> str | None:
    """Return the cluster by which Envoy fetches the keys of a rule; ``None`` where it is given them."""
    return remote_cluster(view, rule.jwks_uri) if rule.jwks_uri else None
