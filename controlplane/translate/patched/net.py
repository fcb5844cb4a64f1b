"""Patches are applied one after the other, and only those that leave something that Envoy takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import re2
from google.protobuf.message import Message

from controlplane.constraints.checker import Faults
from controlplane.model.left_out import LeftOut
from controlplane.model.patches import PatchNote
from controlplane.patches.patch import Draft, PatchError, Step
from controlplane.registry.store import View
from controlplane.translate.patched.reading import NOT_APPLICABLE, Held

_MOST_TRIED = 40
"""Patches of one message, up to which the one that does harm is looked for by leaving each out."""
_MOST_TRIES = 200
"""How often patches of one message are tried together where there are more; each takes as long as the message is."""
_POSITION = re2.compile(r"\[\d+\]")
_REFUSED = "Envoy would refuse what it makes"

Check = Callable[[Message], Faults]


class _Reason(NamedTuple):
    verdict: str
    text: str


def patched(view: View, patches: Sequence[Held], message: Message, steps: Sequence[Step], check: Check) -> Draft:
    """Return what the steps of some patches make of a message, which stays as it is.

    A patch that fails, or makes what ``check`` finds fault with, is left out whole and noted; the others are applied.
    Those that change something are noted too.
    """
    left_out: dict[int, _Reason] = {}
    draft = _applied(message, steps, left_out)
    if not draft.gone and draft.message != message and (found := check(draft.message)):
        draft = _sound(message, steps, check, found, left_out)
    for position, reason in left_out.items():
        ref, patch = patches[position]
        element = f"{ref.path} ({patch.apply_to} {patch.operation})"
        view.note(LeftOut(element, reason.text, (ref.filter,), reason.verdict))
    for position in sorted(draft.changed_by):
        view.note(PatchNote(patches[position].ref, changes=True))
    return draft


def _applied(message: Message, steps: Sequence[Step], left_out: dict[int, _Reason]) -> Draft:
    """Apply all steps but those of patches that are left out, or fail, which are then left out too."""
    draft = Draft(message).copy()
    _run(draft, steps, left_out)
    return draft


def _run(draft: Draft, steps: Sequence[Step], left_out: dict[int, _Reason]) -> None:
    for step in steps:
        if draft.gone:
            break
        if step.position in left_out:
            continue
        try:
            if step.run(draft):
                draft.changed_by.add(step.position)
        except PatchError as error:
            left_out[step.position] = _Reason(NOT_APPLICABLE, str(error))
    draft.close()


def _sound(message: Message, steps: Sequence[Step], check: Check, found: Faults, left_out: dict[int, _Reason]) -> Draft:
    """Leave one patch out if that is enough, the last one that is; else each that does harm where it comes."""
    tried = [step.position for step in steps if step.position not in left_out]
    for position in reversed(tried) if len(tried) <= _MOST_TRIED else ():
        without = {**left_out, position: _Reason(_REFUSED, _text(found))}
        draft = _applied(message, steps, without)
        if draft.gone or not check(draft.message):
            left_out |= without
            return draft
    return _Trial(check, left_out).taken(
        Draft(message).copy(), [step for step in steps if step.position not in left_out]
    )


class _Trial:
    """A search for those of very many patches that do harm: half of them at a time, where they do some together."""

    def __init__(self, check: Check, left_out: dict[int, _Reason]) -> None:
        self._check = check
        self._left_out = left_out
        self._tries = _MOST_TRIES

    def taken(self, draft: Draft, steps: Sequence[Step]) -> Draft:
        """Return the draft with those of some patches that do no harm where they come; note the others."""
        after = draft.copy()
        failed: dict[int, _Reason] = {}
        _run(after, steps, failed)
        self._tries -= 1
        if after.gone or not (found := self._check(after.message)):
            self._left_out |= failed
            return after
        if len(steps) > 1 and self._tries > 0:
            half = len(steps) // 2
            return self.taken(self.taken(draft, steps[:half]), steps[half:])
        text = _text(found)
        if len(steps) > 1:
            text += f"; {len(steps)} patches are left out for it, since too many others do harm to try each"
        self._left_out |= {step.position: _Reason(_REFUSED, text) for step in steps}
        return draft


def _text(found: Faults) -> str:
    """Return the first reason; positions in lists are left out, so that it is one reason for all alike."""
    path = str(_POSITION.sub("[]", found[0].path))
    return f"{path}: {found[0].reason}" if path else found[0].reason
