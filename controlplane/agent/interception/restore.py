"""Rules as the text that ``iptables-restore`` takes, and the text that takes them away again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from controlplane.agent.interception.rules import Rule

PREFIX = "ISTIO_"


def chains(rules: Iterable[Rule], table: str) -> tuple[str, ...]:
    """Return the chains of ours that the rules of a table use, those with rules first."""
    held = [rule for rule in rules if rule.table == table]
    used = chain((rule.chain for rule in held), (rule.target for rule in held))
    return tuple(dict.fromkeys(name for name in used if name.startswith(PREFIX)))


def restore_text(rules: Sequence[Rule]) -> str:
    """Return the text that makes the chains and adds the rules; empty where there are none."""
    parts = []
    for table in sorted({rule.table for rule in rules}):
        lines = [f"* {table}", *(f"-N {name}" for name in chains(rules, table))]
        lines += [str(rule) for rule in rules if rule.table == table]
        parts.append("\n".join([*lines, "COMMIT", ""]))
    return "".join(parts)


def removal(rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return the arguments of iptables, call by call, that take the rules away, whichever of them are there."""
    calls: list[tuple[str, ...]] = []
    for table in sorted({rule.table for rule in rules}):
        ours = chains(rules, table)
        calls += [
            ("-t", table, "-D", rule.chain, *rule.body.split())
            for rule in rules
            if rule.table == table and not rule.chain.startswith(PREFIX)
        ]
        calls += [("-t", table, "-F", name) for name in ours]
        calls += [("-t", table, "-X", name) for name in ours]
    return calls
