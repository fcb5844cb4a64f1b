"""Patches of filters: of those of a listener, of a filter chain, of an HTTP connection manager.

All of them have a name and a configuration, and are in a list whose order matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from controlplane.apis.envoy_filter import PatchOperation
from controlplane.patches.merge import merge_packed, require_same_type
from controlplane.patches.patch import Patch

Filters = Any
"""A repeated field of ``Filter``, ``HttpFilter`` or ``ListenerFilter``."""


def apply_filters(lists: Sequence[Filters], patch: Patch, name: str | None) -> bool:
    """Change lists of filters, all or none, and return whether that is another one then.

    ``name`` is that of the filters meant, ``None`` where the patch names none.

    Raises:
        PatchError: a filter to merge into is of another type.
    """
    if patch.merges:
        if patch.operation is not PatchOperation.MERGE:
            return False  # the other one does nothing to filters
        return merge_filters((each for held in lists for each in held if name is None or each.name == name), patch)
    changes = [_changed(held, patch, name) for held in lists]
    return any(changes)


def _changed(filters: Filters, patch: Patch, name: str | None) -> bool:
    if patch.operation is PatchOperation.REMOVE:
        return name is not None and keep(filters, lambda each: each.name != name)
    place = _place(filters, patch.operation, name)
    if place is None:
        return False
    if patch.operation is PatchOperation.REPLACE:
        if filters[place] == patch.value:
            return False
        filters[place].CopyFrom(patch.value)
    else:
        insert(filters, place, patch.value)
    return True


def merge_filters(targets: Iterable[Any], patch: Patch, *, renames: bool = True) -> bool:
    """Merge the configuration of a patch into all filters or none, and return whether that changes any.

    One that is fetched by itself is left alone.

    Raises:
        PatchError: a filter is of another type.
    """
    value: Any = patch.value
    meant = [each for each in targets if each.HasField("typed_config")]
    packed = value.HasField("typed_config")
    for each in meant if packed else ():
        require_same_type(each.typed_config, value.typed_config)
    changes = False
    for each in meant:
        if packed:
            changes = merge_packed(each.typed_config, value.typed_config) or changes
        if renames and value.name not in ("", each.name):
            each.name, changes = value.name, True
    return changes


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
