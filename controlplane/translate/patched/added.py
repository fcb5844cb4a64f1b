"""Whole messages that patches add: listeners, clusters, settings of filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controlplane.apis.envoy_filter import ApplyTo, PatchOperation
from controlplane.model.patches import PatchNote, PatchRef
from controlplane.registry.store import View
from controlplane.translate.patched.reading import read_patch
from controlplane.translate.sound import is_sound


def added_message(  # a generated message, or None
    view: View, ref: PatchRef, apply_to: ApplyTo, seen: Callable[[Any], Any] = lambda message: message
) -> Any:  # noqa: ANN401
    """Return a copy of what a patch adds; ``None`` where it adds no such thing, or one that Envoy would refuse.

    ``seen`` returns what Envoy sees of it, where that is another message.
    """
    patch = read_patch(view, ref)
    if patch is None or patch.apply_to is not apply_to or patch.operation is not PatchOperation.ADD:
        return None
    message: Any = patch.copied()
    element = f"{ref.path} ({apply_to} {patch.operation})"
    if not is_sound(view, seen(message), element, lambda _: (ref.filter,)):
        return None
    view.note(PatchNote(ref, changes=True))
    return message
