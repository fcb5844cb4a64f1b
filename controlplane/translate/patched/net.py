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
    """Apply all steps but those of patches that are left out, or fail, which are then left out from the start."""
    while True:
        draft = Draft(message).copy()
        body = message.SerializeToString(deterministic=True)
        for step in steps:
            if step.position in left_out or draft.gone:
                continue
            try:
                step.run(draft)
            except PatchError as error:
                left_out[step.position] = _Reason(NOT_APPLICABLE, str(error))
                break
            before, body = body, _body(draft)
            if body != before:
                draft.changed_by |= {step.position}
        else:
            return draft


def _body(draft: Draft) -> bytes:
    """Return what a draft is sent as, nothing for one that is gone."""
    return b"" if draft.gone else draft.message.SerializeToString(deterministic=True)


def _sound(message: Message, steps: Sequence[Step], check: Check, found: Faults, left_out: dict[int, _Reason]) -> Draft:
    """Leave one patch out if that is enough, the last one that is; else each that does harm where it comes."""
    tried = [step.position for step in steps if step.position not in left_out]
    for position in reversed(tried) if len(tried) <= _MOST_TRIED else ():
        without = {**left_out, position: _Reason(_REFUSED, _text(found))}
        draft = _applied(message, steps, without)
        if draft.gone or not check(draft.message):
            left_out |= without
            return draft
    draft = Draft(message).copy()
    for step in steps:
        if step.position in left_out or draft.gone:
            continue
        after = draft.copy()
        try:
            step.run(after)
        except PatchError as error:
            left_out[step.position] = _Reason(NOT_APPLICABLE, str(error))
            continue
        if not after.gone and (found := check(after.message)):
            left_out[step.position] = _Reason(_REFUSED, _text(found))
        else:
            if after.gone or after.message != draft.message:
                after.changed_by |= {step.position}
            draft = after
    return draft


def _text(found: Faults) -> str:
    """Return the first reason; positions in lists are left out, so that it is one reason for all alike."""
    path = str(_POSITION.sub("[]", found[0].path))
    return f"{path}: {found[0].reason}" if path else found[0].reason
