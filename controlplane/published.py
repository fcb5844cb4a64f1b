"""Messages of Envoy as they may be shown: what its API marks as sensitive is ``[redacted]``, as in Envoy's own dumps.

Reference: ``udpa.annotations.sensitive``. A private key may stand in any resource: EnvoyFilters put it there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.message import DecodeError, Message
from udpa.annotations import sensitive_pb2

REDACTED = "[redacted]"
_LOADABLE = ("envoy.", "xds.", "udpa.")
_sensitive = set[str]()  # full names of fields; those of ``_looked_at`` are known
_looked_at = set[str]()


def is_sensitive(field: Any) -> bool:  # noqa: ANN401 - protobuf ships no type for it
    """Whether nobody may see a field."""
    name = field.full_name
    if name not in _looked_at:
        _looked_at.add(name)
        if field.GetOptions().Extensions[sensitive_pb2.sensitive]:
            _sensitive.add(name)
    return name in _sensitive


def publish(message: Message, *, as_json: bool = True) -> None:
    """Redact a message, in place, also within what is packed in it.

    ``as_json``: what is packed and of a type that this program does not know becomes a ``google.protobuf.Struct`` of
    its ``type_url`` and its ``base64`` bytes, so that it can be printed; what is in it is not known, and not redacted.
    """
    if isinstance(message, any_pb2.Any):
        _publish_packed(message, as_json=as_json)
        return
    for field, value in message.ListFields():
        for each in _inner(message, field, value):
            publish(each, as_json=as_json)


def _inner(message: Message, field: Any, value: Any) -> Iterable[Message]:  # noqa: ANN401 - protobuf's field and value
    """Return the messages in a field that are to be published; one that nobody may see is hidden."""
    if is_sensitive(field):
        hide(message, field)
        return ()
    if field.message_type is None:
        return ()
    if field.message_type.GetOptions().map_entry:
        return value.values() if field.message_type.fields_by_name["value"].message_type is not None else ()
    return (value,) if isinstance(value, Message) else value


def hide(message: Message, field: Any) -> None:  # noqa: ANN401 - as above
    """Put ``[redacted]`` in the place of all texts in a field; what else is in it goes."""
    value = getattr(message, field.name)
    if isinstance(value, any_pb2.Any):
        value.Clear()
    elif isinstance(value, Message):
        for inner, _ in value.ListFields():
            hide(value, inner)
    elif isinstance(value, str | bytes):
        setattr(message, field.name, REDACTED if isinstance(value, str) else REDACTED.encode())
    elif field.is_repeated and field.message_type is not None and not field.message_type.GetOptions().map_entry:
        for each in value:
            for inner, _ in each.ListFields():
                hide(each, inner)
    else:
        message.ClearField(field.name)


def _publish_packed(packed: any_pb2.Any, *, as_json: bool) -> None:
    if not packed.type_url:
        return
    inner = unpacked(packed)
    if inner is not None:
        publish(inner, as_json=as_json)
        packed.value = inner.SerializeToString(deterministic=True)
    elif as_json:
        shown = struct_pb2.Struct()
        shown.update({"type_url": packed.type_url, "base64": base64.b64encode(packed.value).decode()})
        packed.Pack(shown)


def unpacked(packed: any_pb2.Any) -> Message | None:
    """Return the message in an Any, ``None`` where its type is not known or it is malformed."""
    try:
        inner = _message_class(packed.type_url.rpartition("/")[2])()
        inner.ParseFromString(packed.value)
    except (KeyError, DecodeError):
        return None
    return inner


def message_descriptor(type_url: str) -> Any:  # noqa: ANN401 - as above
    """Return the descriptor of a message, ``None`` where its type is not known."""
    try:
        return _message_class(type_url.rpartition("/")[2]).DESCRIPTOR
    except KeyError:
        return None


@cache
def _message_class(name: str) -> type[Message]:
    """Return the class of a message by its full name, loading the modules of its package if need be.

    Raises:
        KeyError: there is no such message.
    """
    pool = descriptor_pool.Default()
    try:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    except KeyError:
        package = name.rpartition(".")[0]
        if not package.startswith(_LOADABLE):
            raise
    try:
        path = import_module(package).__path__
    except ModuleNotFoundError:
        raise KeyError(name) from None
    for module in iter_modules(path):
        if module.name.endswith("_pb2"):
            import_module(f"{package}.{module.name}")
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
