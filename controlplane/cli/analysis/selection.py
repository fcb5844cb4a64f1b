"""Which findings are told: by namespace and level, without those that somebody does not want to hear of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import typer

from controlplane.analysis.codes import Level
from controlplane.analysis.mesh_members import IGNORED_NAMESPACES
from controlplane.analysis.resources import Message, Resource
from controlplane.model import kinds

SUPPRESS = "galley.istio.io/analyze-suppress"


@dataclass(frozen=True, slots=True)
class Selection:
    """``suppressed`` are pairs of a code and a pattern for objects; ``namespace`` is empty for all."""

    suppressed: tuple[tuple[str, str], ...]
    namespace: str
    least: Level

    @classmethod
    def of(cls, suppress: Sequence[str], namespace: str, least: str) -> Selection:
        """Read what the user gave.

        Raises:
            typer.BadParameter: a suppression is not ``CODE=OBJECT``.
        """
        pairs = []
        for each in suppress:
            code, equals, pattern = each.partition("=")
            if not (code and equals and pattern):
                raise typer.BadParameter(f"{each!r} is not CODE=OBJECT, as IST0102=Namespace test", param_hint="-S")
            pairs.append((code.strip(), pattern.strip()))
        return cls(tuple(pairs), namespace, Level(least))

    def of_messages(self, messages: Iterable[Message]) -> list[Message]:
        """Return the messages that are told, in their order."""
        return [each for each in messages if self._is_told(each)]

    def _is_told(self, each: Message) -> bool:
        about = each.resource
        namespace = about.name if about.kind == kinds.NAMESPACE else about.namespace
        if namespace in IGNORED_NAMESPACES or each.code.level.rank > self.least.rank:
            return False
        if self.namespace and about.namespace not in {"", self.namespace}:
            return False
        return not self._is_suppressed(each.code.id, about)

    def _is_suppressed(self, code: str, about: Resource) -> bool:
        annotated = {part.strip() for part in about.annotations.get(SUPPRESS, "").split(",")}
        if (code and code in annotated) or "*" in annotated:
            return True
        names = (about.origin, f"{about.kind.name} {about.name}.{about.namespace}")
        return any(
            code == wanted and any(fnmatchcase(name, pattern) for name in names) for wanted, pattern in self.suppressed
        )
