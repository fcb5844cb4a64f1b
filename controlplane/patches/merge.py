"""How the message of a patch is merged into one that is there.

Scalars that are set replace, messages merge field by field, lists grow, entries of maps replace by key, a length of
time is replaced as a whole. A packed message is replaced, unless it is what is merged.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from controlplane.patches.messages import load_type, type_name
from controlplane.patches.patch import PatchError

_DURATION = "google.protobuf.Duration"


def merge(target: Message, patch: Message, *, replace_lists: bool = False) -> bool:
    """Merge a patch into a message of the same type, in place; with ``replace_lists`` its lists replace.

    Return whether that makes it another one. Only what the patch states is looked at, however large the message is.
    """
    changes = _changes(target, patch, replace_lists=replace_lists)
    _make_way(target, patch, replace_lists=replace_lists)
    target.MergeFrom(patch)
    return changes


def _changes(target: Message, patch: Message, *, replace_lists: bool) -> bool:
    for field, value in patch.ListFields():
        message, held = field.message_type, getattr(target, field.name)
        if field.is_repeated:
            if message is not None and message.GetOptions().map_entry:
                if any(key not in held or held[key] != each for key, each in value.items()):
                    return True
            elif not replace_lists or held != value:
                return True
        elif field.has_presence and not target.HasField(field.name):
            return True
        elif message is None or message.full_name == _DURATION:
            if held != value:
                return True
        elif _changes(held, value, replace_lists=replace_lists):
            return True
    return False


def _make_way(target: Message, patch: Message, *, replace_lists: bool) -> None:
    """Take out of the target what the patch replaces as a whole."""
    for field, value in patch.ListFields():
        message = field.message_type
        if field.is_repeated:
            if replace_lists and not (message is not None and message.GetOptions().map_entry):
                target.ClearField(field.name)
        elif message is None or not target.HasField(field.name):
            continue
        elif message.full_name == _DURATION:
            target.ClearField(field.name)
        else:
            _make_way(getattr(target, field.name), value, replace_lists=replace_lists)


def merge_packed(target: AnyMessage, patch: AnyMessage) -> bool:
    """Merge what a packed message holds into what another one holds, in place; return whether that changes it.

    Raises:
        PatchError: they hold different types, or one that is unknown.
    """
    require_same_type(target, patch)
    merged, before = unpacked(target), target.value
    merge(merged, unpacked(patch))
    target.value = merged.SerializeToString(deterministic=True)
    return target.value != before


def require_same_type(target: AnyMessage, patch: AnyMessage) -> None:
    """Check that two packed messages can be merged.

    Raises:
        PatchError: they hold different types.
    """
    if type_name(target.type_url) != type_name(patch.type_url):
        there, given = type_name(target.type_url), type_name(patch.type_url)
        raise PatchError(f"it is configured by {there or 'nothing'}, the patch has {given or 'no type'}")


def unpacked(packed: Any) -> Message:  # noqa: ANN401 - google.protobuf.Any
    """Return the message in a packed one.

    Raises:
        PatchError: its type is unknown, or it is no such message.
    """
    load_type(packed.type_url)
    name = type_name(packed.type_url)
    try:
        made = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))()
        made.ParseFromString(packed.value)
    except (KeyError, DecodeError) as error:
        raise PatchError(f"{name or 'a configuration without type'} cannot be read") from error
    return made


def merge_socket(target: Any, patch: Any) -> bool:  # noqa: ANN401 - envoy.config.core.v3.TransportSocket
    """Merge the settings of a transport socket into those of one of the same name; return whether that changes them.

    Raises:
        PatchError: as ``merge_packed``.
    """
    return patch.HasField("typed_config") and merge_packed(target.typed_config, patch.typed_config)
