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


def merge(target: Message, patch: Message, *, replace_lists: bool = False) -> None:
    """Merge a patch into a message of the same type, in place; with ``replace_lists`` its lists replace."""
    _make_way(target, patch, replace_lists=replace_lists)
    target.MergeFrom(patch)


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


def merge_packed(target: AnyMessage, patch: AnyMessage) -> None:
    """Merge what a packed message holds into what another one holds, in place.

    Raises:
        PatchError: they hold different types, or one that is unknown.
    """
    if type_name(target.type_url) != type_name(patch.type_url):
        there, given = type_name(target.type_url), type_name(patch.type_url)
        raise PatchError(f"it is configured by {there or 'nothing'}, the patch has {given or 'no type'}")
    merged = unpacked(target)
    merge(merged, unpacked(patch))
    target.value = merged.SerializeToString(deterministic=True)


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


def merge_socket(target: Any, patch: Any) -> None:  # noqa: ANN401 - envoy.config.core.v3.TransportSocket
    """Merge the settings of a transport socket into those of one of the same name.

    Raises:
        PatchError: as ``merge_packed``.
    """
    if patch.HasField("typed_config"):
        merge_packed(target.typed_config, patch.typed_config)
