"""What users ask for and proxies do not get: for the log and for those who ask.

That is what Envoy would refuse, and patches of EnvoyFilters that change nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, TypeVar

import structlog

from controlplane.model.left_out import LeftOut
from controlplane.model.objects import ObjectKey, Rejected
from controlplane.model.patches import PatchNote, PatchRef

if TYPE_CHECKING:
    from controlplane.engine.memo import Memo
    from controlplane.engine.recording import Node
    from controlplane.registry.store import Registry

log = structlog.get_logger(__name__)

N = TypeVar("N", LeftOut, PatchNote)


class LeftOutParts:
    """All parts that are left out now; each is logged once, when the first proxy is concerned and when the last is not.

    Proxies of several classes may lack the same part, and it counts once. ``on_change`` is called when a part begins
    or ends to be left out, and when a patch begins or ends to be for some proxy, or to change something there.
    """

    def __init__(self, registry: Registry) -> None:
        """Listen to what is built of a registry."""
        self._registry = registry
        self._counts: Counter[LeftOut] = Counter()
        self._patches: Counter[PatchNote] = Counter()
        self.on_change: Callable[[], None] = _nobody
        registry.memo.on_notes = self._changed

    def __len__(self) -> int:
        """Count the parts."""
        return len(self._counts)

    def __iter__(self) -> Iterator[Rejected]:
        """Yield the objects behind the parts, each with what is left out of what it asks for."""
        problems: defaultdict[ObjectKey, list[str]] = defaultdict(list)
        for key, element, reason in self.reasons():
            problems[key].append(f"{element} {reason}")
        for key, reasons in problems.items():
            obj = self._registry.objects.get(key)
            yield Rejected(key, tuple(reasons), obj.meta.source if obj is not None else "")

    def reasons(self) -> list[tuple[ObjectKey, str, str]]:
        """Return the objects behind the parts, each with the part and why it is left out, sorted."""
        return sorted(
            (key, part.element, f"is left out, {part.verdict}: {part.reason}")
            for part in self._counts
            for key in part.objects
        )

    def idle_patches(self) -> list[PatchRef]:
        """Return the patches that are for some proxy and change nothing at any, sorted; those left out are not."""
        left_out = {(key, part.element.partition(" ")[0]) for part in self._counts for key in part.objects}
        return sorted(
            note.ref
            for note in self._patches
            if not note.changes
            and PatchNote(note.ref, changes=True) not in self._patches
            and (note.ref.filter, note.ref.path) not in left_out
        )

    def _changed(self, node: Node, before: tuple[Hashable, ...]) -> None:
        changes = Counter(node.notes)
        changes.subtract(before)
        for note, change in changes.items():
            if isinstance(note, LeftOut):
                self._count(self._counts, note, change, _log)
            elif isinstance(note, PatchNote):
                self._count(self._patches, note, change)

    def _count(
        self, counts: Counter[N], note: N, change: int, tell: Callable[[N, bool], None] = lambda _note, _begins: None
    ) -> None:
        """Count a note once more, or less; ``tell`` is told of one that begins or ends to be there."""
        before = counts[note]
        counts[note] = before + change
        if counts[note] <= 0:
            del counts[note]
        if (begins := note in counts) != (before > 0):
            tell(note, begins)
            self.on_change()


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


def _nobody() -> None:
    """Tell nobody."""


def _log(part: LeftOut, begins: bool) -> None:  # noqa: FBT001 - as it is called
    if begins:
        names = [str(key) for key in part.objects]
        log.warning("compiler.left_out", element=part.element, reason=part.reason, objects=names)
    else:
        log.info("compiler.taken_in", element=part.element, reason=part.reason)


def _sorted(parts: Counter[LeftOut]) -> tuple[LeftOut, ...]:
    return tuple(sorted(parts, key=lambda each: (each.element, each.reason)))
