"""The rules of an AuthorizationPolicy as Envoy's policies: one permission per ``to``, one principal per ``from``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal

from controlplane.apis.authorization_policy import Action, Operation, Rule, Source
from controlplane.translate.policies import operations, sources
from controlplane.translate.policies.clauses import PERMISSIONS, PRINCIPALS, Clause, Logic, M
from controlplane.translate.policies.conditions import on_operation, on_source
from controlplane.translate.policies.trust_domains import expanded_domains, expanded_principals

NOTHING = Policy(
    permissions=[PERMISSIONS.other_than(PERMISSIONS.everything)],
    principals=[PRINCIPALS.other_than(PRINCIPALS.everything)],
)
"""What a policy without rules matches."""


class _AllowsNothingError(Exception):
    """A rule of an ALLOW policy holds something that cannot be checked on this kind of chain."""


@dataclass(frozen=True, slots=True)
class RuleTranslation:
    """Translates the rules of one policy.

    ``http`` says what the chain carries: requests, or bytes that have no method and no token. ``action`` decides what
    becomes of a condition that cannot be checked: with ALLOW the rule goes, else the condition alone, so that the
    rule matches more. ``namespace`` is the policy's, ``domains`` are the mesh's trust domains, its own first.
    """

    http: bool
    action: Action
    namespace: str
    domains: tuple[str, ...]

    def policy(self, rule: Rule) -> Policy | None:
        """Return one rule as Envoy has it; ``None`` where it allows nothing on this kind of chain."""
        try:
            of_permission, of_principal = self._conditions(rule)
            operated = [each.operation or Operation() for each in rule.to] or [Operation()]
            called = [each.source or Source() for each in rule.from_] or [Source()]
            return Policy(
                permissions=[self._joined(PERMISSIONS, [*_of_operation(each), *of_permission]) for each in operated],
                principals=[self._joined(PRINCIPALS, [*self._of_source(each), *of_principal]) for each in called],
            )
        except _AllowsNothingError:
            return None

    def _conditions(self, rule: Rule) -> tuple[list[Clause[Permission]], list[Clause[Principal]]]:
        of_permission: list[Clause[Permission]] = []
        of_principal: list[Clause[Principal]] = []
        for condition in rule.when:
            operation = on_operation(condition)
            source = on_source(condition, self.namespace, self.domains) if operation is None else None
            if operation is not None:
                of_permission.append(operation)
            elif source is not None:
                of_principal.append(source)
            else:
                self._give_up()
        return of_permission, of_principal

    def _joined(self, logic: Logic[M], clauses: Iterable[Clause[M]]) -> M:
        return logic.joined(part for clause in clauses for part in self._parts(logic, clause))

    def _parts(self, logic: Logic[M], clause: Clause[M]) -> Iterator[M]:
        if clause.http and not self.http and (clause.values or clause.others):
            self._give_up()
            return
        for values, negated in ((clause.values, False), (clause.others, True)):
            if not values:
                continue
            try:
                matcher = clause.group(values)
            except ValueError:
                self._give_up()
            else:
                yield logic.other_than(matcher) if negated else matcher

    def _give_up(self) -> None:
        if self.action is Action.ALLOW:
            raise _AllowsNothingError

    def _of_source(self, source: Source) -> Iterator[Clause[Principal]]:
        domains = self.domains
        yield Clause(
            expanded_principals(source.principals, domains),
            expanded_principals(source.not_principals, domains),
            PRINCIPALS.each(sources.principal),
        )
        yield Clause(source.request_principals, source.not_request_principals, sources.request_principals, http=True)
        yield Clause(
            source.service_accounts,
            source.not_service_accounts,
            PRINCIPALS.each(lambda value: sources.service_account(value, self.namespace)),
        )
        yield Clause(
            expanded_domains(source.trust_domains, domains),
            expanded_domains(source.not_trust_domains, domains),
            PRINCIPALS.each(sources.trust_domain),
        )
        yield Clause(source.namespaces, source.not_namespaces, PRINCIPALS.each(sources.namespace))
        yield Clause(source.remote_ip_blocks, source.not_remote_ip_blocks, PRINCIPALS.each(sources.client_address))
        yield Clause(source.ip_blocks, source.not_ip_blocks, PRINCIPALS.each(sources.peer_address))


def _of_operation(operation: Operation) -> Iterator[Clause[Permission]]:
    yield Clause(operation.hosts, operation.not_hosts, PERMISSIONS.each(operations.host), http=True)
    yield Clause(operation.methods, operation.not_methods, PERMISSIONS.each(operations.method), http=True)
    yield Clause(operation.paths, operation.not_paths, PERMISSIONS.each(operations.path), http=True)
    yield Clause(operation.ports, operation.not_ports, PERMISSIONS.each(operations.destination_port))
