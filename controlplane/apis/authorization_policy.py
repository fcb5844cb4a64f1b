"""AuthorizationPolicy: who may do what."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controlplane.apis.common import (
    ONE_TARGET,
    ApiModel,
    PolicyTargetReference,
    TargetReferences,
    WorkloadSelector,
    at_most_one,
    rule,
)

Strings = tuple[str, ...]
ServiceAccounts = Annotated[tuple[Annotated[str, Field(max_length=320)], ...], Field(max_length=16)]
_ACCOUNTS = ("service_accounts", "not_service_accounts")
_OTHERS = ("principals", "not_principals", "namespaces", "not_namespaces")


class Action(StrEnum):
    """What becomes of a request that a rule matches; ``CUSTOM`` asks a provider, ``AUDIT`` only notes it."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class Source(ApiModel):
    """Who calls; all fields given must hold, of each list one entry. ``*`` may lead or end an entry."""

    principals: Strings = ()
    not_principals: Strings = ()
    request_principals: Strings = ()
    not_request_principals: Strings = ()
    namespaces: Strings = ()
    not_namespaces: Strings = ()
    ip_blocks: Strings = ()
    not_ip_blocks: Strings = ()
    remote_ip_blocks: Strings = ()
    not_remote_ip_blocks: Strings = ()
    service_accounts: ServiceAccounts = ()
    not_service_accounts: ServiceAccounts = ()
    trust_domains: Strings = ()
    not_trust_domains: Strings = ()

    _accounts_alone = rule(
        lambda source: not (any(map(source.has, _ACCOUNTS)) and any(map(source.has, _OTHERS))),
        "Cannot set serviceAccounts with namespaces or principals",
    )


class Operation(ApiModel):
    """What is done; all fields given must hold, of each list one entry."""

    hosts: Strings = ()
    not_hosts: Strings = ()
    ports: Strings = ()
    not_ports: Strings = ()
    methods: Strings = ()
    not_methods: Strings = ()
    paths: Strings = ()
    not_paths: Strings = ()


class RuleFrom(ApiModel):
    """One kind of caller."""

    source: Source | None = None


class RuleTo(ApiModel):
    """One kind of operation."""

    operation: Operation | None = None


class Condition(ApiModel):
    """One further condition on an attribute such as ``request.headers[x]``."""

    key: str
    values: Strings = ()
    not_values: Strings = ()


class Rule(ApiModel):
    """Matches when one ``from_``, one ``to`` and every ``when`` do; an absent part matches everything."""

    from_: Annotated[tuple[RuleFrom, ...], Field(max_length=512)] = Field(default=(), alias="from")
    to: tuple[RuleTo, ...] = ()
    when: tuple[Condition, ...] = ()


class ExtensionProviderName(ApiModel):
    """The name of an extension provider of the mesh configuration."""

    name: str = ""


class AuthorizationPolicy(ApiModel):
    """``spec`` of an AuthorizationPolicy; no selector: the namespace. Without rules ``ALLOW`` lets nothing through."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: TargetReferences = ()
    rules: Annotated[tuple[Rule, ...], Field(max_length=512)] = ()
    action: Action = Action.ALLOW
    provider: ExtensionProviderName | None = None

    _one_target = at_most_one("selector", "target_ref", "target_refs", reason=ONE_TARGET)
