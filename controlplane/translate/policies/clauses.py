"""The parts of a rule, and how Envoy joins them: what must match, and what must not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from envoy.config.rbac.v3.rbac_pb2 import Permission, Principal

M = TypeVar("M", Permission, Principal)
Values = Sequence[str]


@dataclass(frozen=True, slots=True)
class Clause(Generic[M]):
    """One field of a rule: ``values`` of which one must match, ``others`` of which none may.

    ``group`` makes one matcher of at least one value; it raises ``ValueError`` where a value cannot be read.
    ``http`` is set where only requests have what is matched.
    """

    values: Values
    others: Values
    group: Callable[[Values], M]
    http: bool = False


@dataclass(frozen=True, slots=True)
class Logic(Generic[M]):
    """How Envoy joins permissions, or principals."""

    everything: M
    either: Callable[[Sequence[M]], M]
    all_of: Callable[[Sequence[M]], M]
    other_than: Callable[[M], M]

    def each(self, make: Callable[[str], M]) -> Callable[[Values], M]:
        """Return the group of values that are matched one by one."""
        return lambda values: self.either([make(value) for value in values])

    def joined(self, parts: Iterable[M]) -> M:
        """Return what all parts match; without parts that is everything."""
        return self.all_of(list(parts) or [self.everything])


PERMISSIONS = Logic(
    Permission(any=True),
    lambda rules: Permission(or_rules=Permission.Set(rules=rules)),
    lambda rules: Permission(and_rules=Permission.Set(rules=rules)),
    lambda rule: Permission(not_rule=rule),
)
PRINCIPALS = Logic(
    Principal(any=True),
    lambda ids: Principal(or_ids=Principal.Set(ids=ids)),
    lambda ids: Principal(and_ids=Principal.Set(ids=ids)),
    lambda each: Principal(not_id=each),
)
