"""Conditions (``when``) on attributes of a request or a connection. Source: ``rules[].when`` of AuthorizationPolicy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envoy.config.rbac.v3.rbac_pb2 import Permission, Principal

from controlplane.apis.authorization_policy import Condition
from controlplane.translate.policies import operations, sources
from controlplane.translate.policies.clauses import PERMISSIONS, PRINCIPALS, Clause
from controlplane.translate.policies.matchers import claims, header, left_by_filter
from controlplane.translate.policies.trust_domains import expanded_domains, expanded_principals

_HEADERS = "request.headers"
_CLAIMS = "request.auth.claims"
_EXPERIMENTAL = "experimental.envoy.filters."
#: what is known of a request alone, by attribute: claims of its token
_NAMED_CLAIMS = {"request.auth.audiences": "aud", "request.auth.presenter": "azp"}
_PERMISSIONS: Mapping[str, Callable[[str], Permission]] = {
    "destination.ip": operations.destination_address,
    "destination.port": operations.destination_port,
    "connection.sni": operations.server_name,
}
_PRINCIPALS: Mapping[str, Callable[[str], Principal]] = {
    "source.ip": sources.peer_address,
    "remote.ip": sources.client_address,
    "source.namespace": sources.namespace,
}


def on_operation(condition: Condition) -> Clause[Permission] | None:
    """Return a condition on what is done; ``None`` where it is on something else."""
    values, others = condition.values, condition.not_values
    make = _PERMISSIONS.get(condition.key)
    if make is not None:
        return Clause(values, others, PERMISSIONS.each(make))
    if condition.key.startswith(_EXPERIMENTAL):
        name, _, rest = condition.key.removeprefix("experimental.").partition("[")
        if rest.endswith("]") and rest != "]":
            return Clause(
                values, others, lambda held: Permission(metadata=left_by_filter(name, rest.removesuffix("]"), held))
            )
    return None


def on_source(condition: Condition, namespace: str, domains: tuple[str, ...]) -> Clause[Principal] | None:
    """Return a condition on who calls, or on what a request carries; ``None`` where it is on something else.

    ``namespace`` is the policy's: a bare service account is one of it. ``domains`` are the mesh's trust domains.
    """
    key, values, others = condition.key, condition.values, condition.not_values
    make = _PRINCIPALS.get(key)
    if make is not None:
        return Clause(values, others, PRINCIPALS.each(make))
    if key == "source.principal":
        named, excluded = expanded_principals(values, domains), expanded_principals(others, domains)
        return Clause(named, excluded, PRINCIPALS.each(sources.principal))
    if key == "source.trustDomain":
        named, excluded = expanded_domains(values, domains), expanded_domains(others, domains)
        return Clause(named, excluded, PRINCIPALS.each(sources.trust_domain))
    if key == "source.serviceAccount":
        return Clause(values, others, PRINCIPALS.each(lambda value: sources.service_account(value, namespace)))
    if key == "request.auth.principal":
        return Clause(values, others, sources.request_principals, http=True)
    name = _bracketed(key, _HEADERS)
    if name:
        return Clause(values, others, PRINCIPALS.each(lambda value: Principal(header=header(name, value))), http=True)
    path = _claim_path(key)
    if path:
        return Clause(values, others, lambda held: Principal(metadata=claims(path, held)), http=True)
    return None


def _claim_path(key: str) -> tuple[str, ...]:
    if key in _NAMED_CLAIMS:
        return (_NAMED_CLAIMS[key],)
    inner = _bracketed(key, _CLAIMS)
    parts = tuple(inner.split("]["))
    return parts if all(part and "[" not in part and "]" not in part for part in parts) else ((inner,) if inner else ())


def _bracketed(key: str, name: str) -> str:
    """Return what stands in brackets behind a name; empty where the key is another one."""
    rest = key.removeprefix(name)
    if rest == key or not (rest.startswith("[") and rest.endswith("]")):
        return ""
    return rest[1:-1]
