"""Istiod's environment variables that change what proxies are served; those of them that are understood.

They are read from the control plane's own environment, which is fixed for its life. What is not a value of its kind
counts as not set.
"""

from __future__ import annotations

from controlplane.model.compliance import COMPLIANCE_POLICY, FIPS_140_2, FIPS_140_3, POST_QUANTUM
from controlplane.registry.store import View

_POLICIES = frozenset({FIPS_140_2, FIPS_140_3, POST_QUANTUM})
DUAL_STACK = "ISTIO_DUAL_STACK"
"""Proxies with addresses of both IP families are served both."""
GATEWAY_NAMES = "RESOLVE_HOSTNAME_GATEWAYS"
"""The host names of gateways between networks are resolved here, unless this is false."""
GATEWAYS_BY_NAMESPACE = "PILOT_SCOPE_GATEWAY_TO_NAMESPACE"
"""A Gateway is for proxies of its own namespace alone."""
GATEWAY_SELECTORS = "ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY"
"""What selects by labels is for gateways of the Gateway API too, unless this is false."""
EXTERNAL_BY_RULE = "PREFER_DESTINATIONRULE_TLS_FOR_EXTERNAL_SERVICES"
"""A proxy with certificates of its own uses those of a DestinationRule outside the mesh, unless this is false."""
GATEWAY_NEEDS = "PILOT_FILTER_GATEWAY_CLUSTER_CONFIG"
"""A gateway has clusters of those services alone that its routes lead to."""
HTTP10 = "PILOT_HTTP10"
"""HTTP/1.0 is detected, and taken."""
HTTP3 = "PILOT_ENABLE_QUIC_LISTENERS"
"""Gateways speak HTTP/3 too, where a service leads to them with a UDP port of the server's number."""
SESSIONS = "PILOT_ENABLE_PERSISTENT_SESSION_FILTER"
"""Services may keep a client at one endpoint, by a cookie or a header that their labels name."""
SEVERAL_AUTHORISERS = "PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS"
"""Policies with the action CUSTOM may name several providers for one workload."""
SIDECAR_TLS = "ENABLE_TLS_ON_SIDECAR_INGRESS"
"""The ``tls`` of a Sidecar's ``ingress`` has effect."""
ANY_TRUST_DOMAIN = "PILOT_SKIP_VALIDATE_TRUST_DOMAIN"
"""Callers may be of any trust domain, as long as a root of the mesh vouches for them."""
TRACE_SAMPLING = "PILOT_TRACE_SAMPLING"
"""The percentage of requests that are traced where neither mesh nor proxy states one."""

UNDERSTOOD = (
    ANY_TRUST_DOMAIN,
    COMPLIANCE_POLICY,
    DUAL_STACK,
    EXTERNAL_BY_RULE,
    GATEWAYS_BY_NAMESPACE,
    GATEWAY_NEEDS,
    GATEWAY_SELECTORS,
    HTTP10,
    HTTP3,
    SESSIONS,
    SEVERAL_AUTHORISERS,
    SIDECAR_TLS,
    TRACE_SAMPLING,
)

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


def is_true(text: str) -> bool:
    """Whether a text is one of those that stand for true."""
    return text.lower() in _TRUE


def is_false(text: str) -> bool:
    """Whether a text is one of those that stand for false."""
    return text.lower() in _FALSE


def enabled(view: View, name: str) -> bool:
    """Whether a variable is set to true."""
    return is_true(view.environment.get(name, ""))


def disabled(view: View, name: str) -> bool:
    """Whether a variable is set to false."""
    return is_false(view.environment.get(name, ""))


def compliance_policy(view: View) -> str:
    """Return the policy for cryptography, empty without one that is known."""
    said = view.environment.get(COMPLIANCE_POLICY, "")
    return said if said in _POLICIES else ""


def percentage(view: View, name: str) -> float | None:
    """Return the percentage that a variable is set to, ``None`` without one from 0 to 100."""
    try:
        value = float(view.environment.get(name, ""))
    except ValueError:
        return None
    return value if 0 <= value <= 100 else None  # noqa: PLR2004 - percent
