"""Held parts: the targets of each part of an inventory, what they built to, and who holds them.

Everything here is synchronous, and complete at each step: whoever brings a part up to date (``Parts.settle``) may stop
after any target, and go on later or never; in between parts may be taken up and given back, and facts may change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from controlplane.compiler.targets import Part, Target, Targets
from controlplane.engine.memo import Memo
from controlplane.engine.recording import Query
from controlplane.snapshots import NO_FAILURES, WHOLE, Failures, Resource

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class HeldPart:
    """A part's targets and what they built to. ``resources`` is replaced, never changed in place.

    ``outdated``: the targets may be others by now. ``waiting`` are those whose resource may be another by now,
    ``built`` what became of those that were looked at since ``resources`` was made, ``failing`` the reasons of those
    that cannot be built; ``changed`` says that there is any news of either. ``failures`` belongs to ``resources``.
    ``known``: what the targets are was found out once, and each was tried. ``lacking`` and ``partial`` are those of the
    inventory; ``whole`` says that once nothing was lacking.
    ``holders`` counts the classes that have the part; without one it is gone.
    """

    part: Part
    targets: Targets = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    outdated: bool = True
    waiting: dict[Target, None] = field(default_factory=dict)
    built: dict[str, Resource | None] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    failures: Failures = NO_FAILURES
    changed: bool = True
    known: bool = False
    lacking: str = ""
    partial: bool = False
    whole: bool = False
    holders: int = 0

    @property
    def settled(self) -> bool:
        """Whether the resources are what the registry says now."""
        return not self.outdated and not self.waiting and not self.changed


class Parts:
    """All parts that classes hold, each once, and the targets in them."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._parts: dict[tuple[Any, Any], HeldPart] = {}
        self._names: dict[Target, dict[HeldPart, tuple[str, ...]]] = {}  # of each target, by the part it is in
        self._builders: set[str] = set()

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def target_count(self) -> int:
        """How many different targets are held."""
        return len(self._names)

    @property
    def builds(self) -> int:
        """How many targets were built so far, each time counted: what a change costs."""
        return sum(self._memo.runs.get(name, 0) for name in self._builders)

    def take(self, part: Part) -> HeldPart:
        """Return the part, as one more class holds it. Nothing is built yet."""
        held = self._parts.get((part.query, part.key))
        if held is None:
            held = self._parts[part.query, part.key] = HeldPart(part)
            self._memo.keep(part.query, part.key)
        held.holders += 1
        return held

    def give_back(self, held: HeldPart) -> None:
        """Note that one class less holds the part; with the last one it goes, and so do targets that only it had."""
        held.holders -= 1
        if held.holders:
            return
        del self._parts[held.part.query, held.part.key]
        for name, target in held.targets.items():
            self._drop(name, target, held)
        held.targets, held.outdated, held.changed = {}, False, False
        held.waiting.clear()
        held.built.clear()
        self._memo.release(held.part.query, held.part.key)

    def clear(self) -> None:
        """Give everything back at once, whatever state it is in."""
        for query, key in self._parts:
            self._memo.release(query, key)
        for target in self._names:
            self._memo.release(target.query, target.key)
        self._parts.clear()
        self._names.clear()

    def mark(self, stale: Iterable[tuple[Query[Any, Any], Any]]) -> list[HeldPart]:
        """Note what may have changed; return the parts that this concerns."""
        concerned: dict[HeldPart, None] = {}
        for query, key in stale:
            part = self._parts.get((query, key))
            if part is not None:
                part.outdated = True
                concerned[part] = None
            target = Target(query, key)
            for held in self._names.get(target, ()):
                held.waiting[target] = None
                concerned[held] = None
        return list(concerned)

    def settle(self, held: HeldPart) -> Iterator[None]:
        """Bring a part up to date, one target at a time."""
        while held.outdated or held.waiting:
            held.changed = True
            if held.outdated:
                held.outdated = False
                self._retarget(held)
            else:
                target, _ = held.waiting.popitem()  # the last: to find the first one takes longer the more went before
                self._build(target, held)
            yield

    def replaced(self, held: HeldPart) -> bool:
        """Put what was built into the part's resources, once it is settled; return whether it differs from before."""
        swaps = {name: new for name, new in held.built.items() if held.resources.get(name) != new}
        held.built.clear()
        held.changed = False
        if swaps:
            resources = dict(held.resources)
            for name, resource in swaps.items():
                if resource is None:
                    resources.pop(name, None)
                else:
                    resources[name] = resource
            held.resources = resources
        unbuilt = frozenset(name for name in held.failing if name not in held.resources)
        # What fails later, in a part that was complete, is new: no proxy can hold it from before.
        blocking = held.failures.blocking & unbuilt if held.known else unbuilt
        partial = held.partial and not held.whole
        reasons = {WHOLE: held.lacking, **held.failing} if held.lacking else dict(held.failing)
        failures = Failures(reasons, blocking, partial) if reasons else NO_FAILURES
        held.known = held.known or WHOLE not in held.failing
        held.whole = held.whole or (held.known and not held.lacking)
        if failures == held.failures:
            return bool(swaps)
        held.failures = failures
        return True

    def _retarget(self, held: HeldPart) -> None:
        """Find a part's targets; where that fails (our bug) those of before stay."""
        found = self._memo.outcome(held.part.query, held.part.key)
        if found.failure:
            query, key = held.part.query.name, str(held.part.key)
            log.error("compiler.inventory_failed", query=query, key=key, reason=found.failure)
            held.failing[WHOLE] = found.failure
            return
        held.failing.pop(WHOLE, None)
        held.lacking, held.partial = found.value.lacking, found.value.partial
        before, after = held.targets, found.value.targets
        if after is before:
            return
        held.targets = after
        for name, target in after.items():  # first what comes: what stays under another name is not dropped in between
            old = before.get(name)
            if old is not target and old != target:
                self._add(name, target, held)
                held.waiting[target] = None
        for name, target in before.items():
            new = after.get(name)
            if new is not target and new != target:
                self._drop(name, target, held)
                if name not in after:
                    held.built[name] = None
                    held.failing.pop(name, None)

    def _build(self, target: Target, held: HeldPart) -> None:
        outcome = self._memo.outcome(target.query, target.key)
        for name in self._names[target][held]:
            if outcome.failure:
                held.failing[name] = outcome.failure
            else:
                held.failing.pop(name, None)
            if outcome.built:
                held.built[name] = outcome.value
            else:
                held.built.pop(name, None)  # what another target gave under this name stays: the last good one

    def _add(self, name: str, target: Target, held: HeldPart) -> None:
        parts = self._names.get(target)
        if parts is None:
            parts = self._names[target] = {}
            self._builders.add(target.query.name)
            self._memo.keep(target.query, target.key)
        parts[held] = (*parts.get(held, ()), name)

    def _drop(self, name: str, target: Target, held: HeldPart) -> None:
        parts = self._names[target]
        names = tuple(other for other in parts[held] if other != name)
        if names:
            parts[held] = names
            return
        del parts[held]
        held.waiting.pop(target, None)
        if not parts:
            del self._names[target]
            self._memo.release(target.query, target.key)
