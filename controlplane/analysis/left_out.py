"""What is left out of the proxies' configuration because Envoy would refuse it: for the log and for those who ask."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

import structlog

from controlplane.model.left_out import LeftOut
from controlplane.model.objects import ObjectKey, Rejected

if TYPE_CHECKING:
    from controlplane.engine.memo import Memo
    from controlplane.engine.recording import Node
    from controlplane.registry.store import Registry

log = structlog.get_logger(__name__)


class LeftOutParts:
    """All parts that are left out now; each is logged once, when the first proxy is concerned and when the last is not.

    Proxies of several classes may lack the same part, and it counts once.
    """

    def __init__(self, registry: Registry) -> None:
        """Listen to what is built of a registry."""
        self._registry = registry
        self._counts: Counter[LeftOut] = Counter()
        registry.memo.on_notes = self._changed

    def __len__(self) -> int:
        """Count the parts."""
        return len(self._counts)

    def __iter__(self) -> Iterator[Rejected]:
        """Yield the objects behind the parts, each with what is left out of what it asks for."""
        problems: defaultdict[ObjectKey, list[str]] = defaultdict(list)
        for part in sorted(self._counts, key=lambda each: (each.element, each.reason)):
            for key in part.objects:
                problems[key].append(f"{part.element} is left out, {part.verdict}: {part.reason}")
        for key, reasons in sorted(problems.items()):
            obj = self._registry.objects.get(key)
            yield Rejected(key, tuple(reasons), obj.meta.source if obj is not None else "")

    def _changed(self, node: Node, before: tuple[Hashable, ...]) -> None:
        for note in before:
            if isinstance(note, LeftOut):
                self._drop(note)
        for note in node.notes:
            if isinstance(note, LeftOut):
                self._add(note)

    def _add(self, part: LeftOut) -> None:
        self._counts[part] += 1
        if self._counts[part] == 1:
            names = [str(key) for key in part.objects]
            log.warning("compiler.left_out", element=part.element, reason=part.reason, objects=names)

    def _drop(self, part: LeftOut) -> None:
        self._counts[part] -= 1
        if self._counts[part] <= 0:
            del self._counts[part]
            log.info("compiler.taken_in", element=part.element, reason=part.reason)


class LeftOutChanges:
    """What is left out, or not any more, since this was made; it takes the place of who listened to what is built."""

    def __init__(self, memo: Memo) -> None:
        """Listen to what is built."""
        self._counts: Counter[LeftOut] = Counter()
        memo.on_notes = self._changed

    @property
    def begun(self) -> tuple[LeftOut, ...]:
        """Parts that are left out and were not."""
        return _sorted(+self._counts)

    @property
    def ended(self) -> tuple[LeftOut, ...]:
        """Parts that were left out and are not."""
        return _sorted(-self._counts)

    def _changed(self, node: Node, before: tuple[Hashable, ...]) -> None:
        self._counts.subtract(note for note in before if isinstance(note, LeftOut))
        self._counts.update(note for note in node.notes if isinstance(note, LeftOut))


def _sorted(parts: Counter[LeftOut]) -> tuple[LeftOut, ...]:
    return tuple(sorted(parts, key=lambda each: (each.element, each.reason)))
