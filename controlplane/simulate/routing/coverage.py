"""Which HTTP rules of VirtualServices the tests reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.model import kinds
from controlplane.model.objects import Object

_RULE = "spec.http["


@dataclass(slots=True)
class Coverage:
    """The rules of each VirtualService, by ``namespace/name``, and those of them that were reached."""

    rules: dict[str, list[str]] = field(default_factory=dict)
    reached: dict[str, set[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Iterable[Object]) -> Coverage:
        """Begin with nothing reached; the rules are told by their names or places."""
        found = cls()
        for obj in objects:
            if obj.kind == kinds.VIRTUAL_SERVICE:
                names = [rule.name or f"http[{index}]" for index, rule in enumerate(obj.spec.http)]
                found.rules[f"{obj.meta.namespace}/{obj.meta.name}"] = names
        return found

    def add(self, answer: Mapping[str, Any]) -> None:
        """Note the rule that an answer's request was taken by."""
        for step in answer["steps"]:
            source = step.get("source")
            taken = step["step"] == "route" and not step.get("verdict") and source
            if taken and source["kind"] == "VirtualService" and source["field"].startswith(_RULE):
                index = int(source["field"].removeprefix(_RULE).partition("]")[0])
                self.reached.setdefault(f"{source['namespace']}/{source['name']}", set()).add(index)

    @property
    def percent(self) -> float:
        """The share of all rules that were reached; 100 where there is none."""
        total = sum(map(len, self.rules.values()))
        return 100.0 * sum(self._count(name) for name in self.rules) / total if total else 100.0

    def _count(self, name: str) -> int:
        return len(self.reached.get(name, set()) & set(range(len(self.rules[name]))))

    def lines(self) -> list[str]:
        """Return a line for each VirtualService with rules, those that were not reached by name."""
        found = []
        for name, rules in sorted(self.rules.items()):
            if rules:
                missed = [rule for index, rule in enumerate(rules) if index not in self.reached.get(name, set())]
                told = f"   not reached: {', '.join(missed)}" if missed else ""
                found.append(f"{name}   {self._count(name)} of {len(rules)}{told}")
        return found

    def words(self) -> dict[str, Any]:
        """Return what JSON says of it."""
        return {
            "percent": round(self.percent, 1),
            "virtualServices": {
                name: {"rules": len(rules), "reached": sorted(self.reached.get(name, set()))}
                for name, rules in sorted(self.rules.items())
            },
        }
