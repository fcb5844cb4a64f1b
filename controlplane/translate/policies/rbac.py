"""AuthorizationPolicies as Envoy's RBAC filters: one filter an action, audited before denied before allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Policy
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac

from controlplane.apis.authorization_policy import Action, AuthorizationPolicy
from controlplane.model.objects import Object
from controlplane.translate.listeners.extensions import http_filter, network_filter
from controlplane.translate.policies.rules import NOTHING, RuleTranslation

HTTP_FILTER = "envoy.filters.http.rbac"
NETWORK_FILTER = "envoy.filters.network.rbac"
STAT_PREFIX = "tcp."
DRY_RUN = "istio.io/dry-run"
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_ACTIONS = {Action.ALLOW: RBAC.ALLOW, Action.DENY: RBAC.DENY, Action.AUDIT: RBAC.LOG, Action.CUSTOM: RBAC.DENY}
#: by the action of the dry run; without one as for ALLOW
_SHADOW_PREFIXES = {RBAC.ALLOW: "istio_dry_run_allow_", RBAC.DENY: "istio_dry_run_deny_", RBAC.LOG: ""}


@dataclass(frozen=True, slots=True)
class Chain:
    """What policies are translated for: a chain that carries requests (``http``) or bytes.

    ``domains`` are the mesh's trust domains, its own first.
    """

    http: bool
    domains: tuple[str, ...]


def rbac_filters(policies: Sequence[Object], chain: Chain) -> Iterator[HttpFilter | Filter]:
    """Yield the filters of the policies that audit, deny and allow, in this order; an action without policies has none.

    Policies that only try (annotation ``istio.io/dry-run``) decide nothing: what they would have done is counted, and
    left in the metadata.
    """
    for action in (Action.AUDIT, Action.DENY, Action.ALLOW):
        held = [obj for obj in policies if obj.spec.action is action]
        tried = [obj for obj in held if _tries(obj)]
        enforced = [obj for obj in held if not _tries(obj)]
        if held:
            yield rbac_filter(
                chain,
                rbac(enforced, action, chain) if enforced else None,
                rbac(tried, action, chain) if tried else None,
            )


def _tries(obj: Object) -> bool:
    return obj.meta.annotations.get(DRY_RUN, "") in _TRUE


def rbac_filter(chain: Chain, rules: RBAC | None, shadow: RBAC | None) -> HttpFilter | Filter:
    """Return the filter that enforces ``rules`` and only counts ``shadow``."""
    prefix = _SHADOW_PREFIXES[shadow.action if shadow is not None else RBAC.ALLOW]
    if chain.http:
        return http_filter(
            HTTP_FILTER, http_rbac.RBAC(rules=rules, shadow_rules=shadow, shadow_rules_stat_prefix=prefix)
        )
    return network_filter(
        NETWORK_FILTER,
        network_rbac.RBAC(rules=rules, shadow_rules=shadow, shadow_rules_stat_prefix=prefix, stat_prefix=STAT_PREFIX),
    )


def rbac(policies: Iterable[Object], action: Action, chain: Chain, name: Callable[[str], str] = str) -> RBAC:
    """Return what policies of one action say; ``name`` makes the key of a rule out of Istio's."""
    return RBAC(
        action=_ACTIONS[action],
        policies={name(key): policy for obj in policies for key, policy in _rules(obj, action, chain)},
    )


def _rules(obj: Object, action: Action, chain: Chain) -> Iterator[tuple[str, Policy]]:
    spec: AuthorizationPolicy = obj.spec
    prefix = f"ns[{obj.meta.namespace}]-policy[{obj.meta.name}]-rule"
    if not spec.rules:
        yield f"{prefix}[0]", NOTHING
    translation = RuleTranslation(chain.http, action, obj.meta.namespace, chain.domains)
    for index, rule in enumerate(spec.rules):
        policy = translation.policy(rule)
        if policy is not None:
            yield f"{prefix}[{index}]", policy
