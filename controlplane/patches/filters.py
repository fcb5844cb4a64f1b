"""Patches of filters: of those of a listener, of a filter chain, of an HTTP connection manager.

All of them have a name and a configuration, and are in a list whose order matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controlplane.apis.envoy_filter import PatchOperation
from controlplane.patches.merge import merge_packed
from controlplane.patches.patch import Patch

Filters = Any
"""A repeated field of ``Filter``, ``HttpFilter`` or ``ListenerFilter``."""


def apply_filters(filters: Filters, patch: Patch, name: str | None) -> None:
    """Change a list of filters; ``name`` is that of the filters meant, ``None`` where the patch names none.

    Raises:
        PatchError: a filter to merge into is of another type.
    """
    if patch.merges:
        if patch.operation is PatchOperation.MERGE:  # the other one does nothing to filters
            for each in filters:
                if name is None or each.name == name:
                    merge_filter(each, patch.value)
        return
    if patch.operation is PatchOperation.REMOVE:
        if name is not None:
            keep(filters, lambda each: each.name != name)
        return
    place = _place(filters, patch.operation, name)
    if place is None:
        return
    if patch.operation is PatchOperation.REPLACE:
        filters[place].CopyFrom(patch.value)
    else:
        insert(filters, place, patch.value)


def merge_filter(target: Any, patch: Any, *, renames: bool = True) -> None:  # noqa: ANN401 - generated messages
    """Merge the configuration of a patch into a filter's; one that is fetched by itself is left alone.

    Raises:
        PatchError: the filter is of another type.
    """
    if not target.HasField("typed_config"):
        return
    if patch.HasField("typed_config"):
        merge_packed(target.typed_config, patch.typed_config)
    if renames and patch.name:
        target.name = patch.name


def _place(filters: Filters, operation: PatchOperation, name: str | None) -> int | None:
    """Return where a filter comes, or which one is replaced; ``None`` for nowhere."""
    found = 0 if name is None else next((index for index, each in enumerate(filters) if each.name == name), None)
    match operation:
        case PatchOperation.ADD:
            return len(filters)
        case PatchOperation.INSERT_FIRST:
            return 0
        case PatchOperation.INSERT_BEFORE:
            return found
        case PatchOperation.INSERT_AFTER:
            if name is None:
                return len(filters)
            return None if found is None else found + 1
        case PatchOperation.REPLACE:
            return None if name is None else found
        case _:
            return None


def insert(messages: Any, place: int, value: Any) -> None:  # noqa: ANN401 - a repeated field and an element of it
    """Put a copy of a message into a list."""
    messages.insert(place, value)


def keep(messages: Any, wanted: Callable[[Any], bool]) -> bool:  # noqa: ANN401 - a repeated field
    """Take the messages out of a list that are not wanted; return whether there were any."""
    unwanted = [index for index, each in enumerate(messages) if not wanted(each)]
    for index in reversed(unwanted):
        del messages[index]
    return bool(unwanted)
