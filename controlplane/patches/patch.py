"""One patch of an EnvoyFilter, ready to be applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from controlplane.apis.envoy_filter import (
    ApplyTo,
    EnvoyConfigObjectMatch,
    EnvoyConfigObjectPatch,
    PatchOperation,
)
from controlplane.patches.messages import MESSAGES, decode

MERGES = frozenset({PatchOperation.MERGE, PatchOperation.MERGE_AND_REPLACE_LIST})
_INSERTS = frozenset({PatchOperation.INSERT_BEFORE, PatchOperation.INSERT_AFTER, PatchOperation.INSERT_FIRST})
#: where the order of the elements matters
_ORDERED = frozenset({ApplyTo.HTTP_FILTER, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_ROUTE, ApplyTo.LISTENER_FILTER})
_EVERYTHING = EnvoyConfigObjectMatch()


class PatchError(ValueError):
    """A patch cannot be applied; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What is changed, how, and where.

    ``value`` is Envoy's message, empty where ``operation`` needs none; ``body`` is its encoding, which stands for it in
    comparisons. An insertion into something without order is an addition. Source: ``configPatches`` of an EnvoyFilter.
    """

    apply_to: ApplyTo
    operation: PatchOperation
    match: EnvoyConfigObjectMatch
    body: bytes
    value: Message = field(compare=False, repr=False)

    @property
    def merges(self) -> bool:
        """Whether it merges its value into what is there."""
        return self.operation in MERGES

    @property
    def replaces_lists(self) -> bool:
        """Whether a list of it takes the place of the list that is there."""
        return self.operation is PatchOperation.MERGE_AND_REPLACE_LIST

    def copied(self) -> Message:
        """Return a new message equal to the value."""
        made = type(self.value)()
        made.CopyFrom(self.value)
        return made


@dataclass(slots=True)
class Draft:
    """A message that is being patched; ``gone`` when a patch removed it, ``removed`` are the names of removed parts.

    ``changed_by`` are the positions of the patches that have changed it. ``opened`` are packed messages in it that are
    being changed, each with what it is packed in: not every patch unpacks and packs them, and ``close`` puts them back.
    """

    message: Message
    gone: bool = False
    removed: set[str] = field(default_factory=set)
    changed_by: set[int] = field(default_factory=set)
    opened: dict[tuple[int, int], tuple[Message, AnyMessage]] = field(default_factory=dict)

    def copy(self) -> Draft:
        """Return a draft of its own."""
        self.close()
        made = type(self.message)()
        made.CopyFrom(self.message)
        return Draft(made, self.gone, set(self.removed), set(self.changed_by))

    def close(self) -> None:
        """Put back what was unpacked; before that the message is not whole."""
        for held, packed in self.opened.values():
            packed.value = held.SerializeToString(deterministic=True)
        self.opened.clear()


@dataclass(frozen=True, slots=True)
class Step:
    """One patch, bound to how it changes a draft; ``position`` is that of the patch in the list that was given.

    ``run`` returns whether it changed the draft, and raises ``PatchError`` where the patch cannot be applied; the draft
    is as it was then.
    """

    position: int
    run: Callable[[Draft], bool]


def patch(stated: EnvoyConfigObjectPatch) -> Patch:
    """Read one patch.

    Raises:
        PatchError: it has no operation, or a value that is no message of Envoy.
    """
    if stated.apply_to is ApplyTo.INVALID or stated.patch is None or stated.patch.operation is PatchOperation.INVALID:
        message = "applyTo, patch and its operation are required"
        raise PatchError(message)
    operation = stated.patch.operation
    value = MESSAGES[stated.apply_to]()
    if stated.patch.value is not None and operation is not PatchOperation.REMOVE:
        try:
            value = decode(stated.apply_to, stated.patch.value).message
        except ValueError as error:
            raise PatchError(f"its value is no message of Envoy: {error}") from error
    elif operation is not PatchOperation.REMOVE:
        raise PatchError(f"{operation} needs a value")
    if operation in _INSERTS and stated.apply_to not in _ORDERED:
        operation = PatchOperation.ADD
    body = value.SerializeToString(deterministic=True)
    return Patch(stated.apply_to, operation, stated.match or _EVERYTHING, body, value)
