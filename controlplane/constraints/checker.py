"""Checkers of messages, compiled from their descriptors: one a type, made when the type is first seen.

A checker looks at fields that are set, and goes down only where a rule can be broken below. Paths are put together
only where something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from envoy.annotations import deprecation_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from validate import validate_pb2

from controlplane.constraints.fields import own_tests
from controlplane.constraints.loading import CHECKS
from controlplane.constraints.remembered import MOST_BYTES_EACH, MOST_TRIES, Contents
from controlplane.constraints.rules import Test, ignores_empty, is_required, rules_of, tests_of
from controlplane.kept import kept
from controlplane.patches.messages import load_type, type_name


class Fault(NamedTuple):
    """What is wrong in a message: ``path`` of the field from the message down, and the reason."""

    path: str
    reason: str


Faults = Sequence[Fault]
NONE: Faults = ()
_ANY = "google.protobuf.Any"
_DURATION = "google.protobuf.Duration"
_MAX_SECONDS = 9_223_372_035  # beyond it nanoseconds do not fit into 64 bits
_SECOND_NANOS = 1_000_000_000
_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_NO_RULES = validate_pb2.FieldRules()
_NEVER = {"envoy.config.core.v3.SocketAddress.named_port": "is no port that Envoy's resolver of addresses knows"}
"""Fields that may not be set at all, with the reason."""


class Checker:
    """All rules of one type of message, compiled when the first one is checked: types contain themselves."""

    __slots__ = ("_compiled", "_descriptor", "_fields", "_filled", "_needed", "_oneofs", "_sound", "_special")

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._compiled = False
        self._needed: list[tuple[str, Fault]] = []  # messages
        self._filled: list[tuple[str, Fault]] = []  # numbers, texts and lists whose zero value is wrong
        self._oneofs: list[str] = []
        self._special = CHECKS.get(descriptor.full_name)
        self._fields: dict[FieldDescriptor, Callable[[Any], Faults]] = {}
        self._sound = Contents()  # those in which nothing is wrong: most sockets and filters are the same everywhere

    def compile(self) -> None:
        """Read the rules, once.

        Raises:
            UnknownRuleError: the descriptor states a rule that is not known here.
        """
        if self._compiled:
            return
        self._compiled = True
        for oneof in self._descriptor.oneofs:
            if oneof.GetOptions().Extensions[validate_pb2.required]:
                self._oneofs.append(oneof.name)
        for field in self._descriptor.fields:
            self._add(field)

    def __call__(self, message: Message) -> Faults:
        """Return what is wrong in a message, first of all itself."""
        if not self._compiled:
            self.compile()
        found: Faults = NONE
        fields = self._fields
        for field, value in message.ListFields():
            check = fields.get(field)
            if check is not None and (faults := check(value)):
                found = [*found, *(Fault(_joined(field.name, each.path), each.reason) for each in faults)]
        for name, fault in self._needed:
            if not message.HasField(name):
                found = [*found, fault]
        for name, fault in self._filled:
            if not getattr(message, name):
                found = [*found, fault]
        for name in self._oneofs:
            if message.WhichOneof(name) is None:
                found = [*found, Fault(name, "is required")]
        if self._special is not None:
            special = list(self._special(message))
            if special:
                found = [*found, *(Fault(path, reason) for path, reason in special)]
        return found

    def within(self, message: Message) -> Faults:
        """Return what is wrong in a message that is part of another one: many of those are the same everywhere."""
        sound = self._sound
        if sound.tries > MOST_TRIES or not self._compiled or not self._fields:
            return self(message)
        content = message.SerializeToString()
        if content in sound.held:
            sound.tries -= 1
            return NONE
        sound.tries += 1
        found = self(message)
        if not found:
            sound.add(content)
        return found

    def packed(self, parse: Callable[[bytes], Message], content: bytes) -> Faults:
        """Return what is wrong in a packed message.

        Raises:
            DecodeError: the bytes are no message of the type.
        """
        sound = self._sound
        if sound.tries > MOST_TRIES or len(content) > MOST_BYTES_EACH:
            return self(parse(content))
        if content in sound.held:
            sound.tries -= 1
            return NONE
        sound.tries += 1
        found = self(parse(content))
        if not found:
            sound.add(content)
        return found

    def _add(self, field: FieldDescriptor) -> None:
        if field.GetOptions().Extensions[deprecation_pb2.disallowed_by_default]:
            self._refuse(field, "is a field that Envoy takes no more")
            return
        if field.full_name in _NEVER:
            self._refuse(field, _NEVER[field.full_name])
            return
        rules = rules_of(field)
        tests = own_tests(field)
        if rules is not None and not _is_wrapped(field):
            tests += tests_of(rules, field)
        if (rules is not None or tests) and field.containing_oneof is None:
            missing = _missing(field, rules or _NO_RULES, tests)
            if missing:
                (self._needed if field.has_presence else self._filled).append((field.name, Fault(field.name, missing)))
        below = _below(field, rules)
        if tests or below is not None:
            self._fields[field] = _whole(tests, below)

    def _refuse(self, field: FieldDescriptor, reason: str) -> None:
        wrong = (Fault("", reason),)
        self._fields[field] = lambda _value: wrong


def _missing(field: FieldDescriptor, rules: validate_pb2.FieldRules, tests: Iterable[Test]) -> str:
    """Return why the field must be set, empty where it need not be."""
    if field.message_type is not None and not field.is_repeated:
        return "is required" if is_required(rules) else ""
    if ignores_empty(rules) or field.has_presence:
        return ""
    default: Any = () if field.is_repeated else field.default_value
    return next((test.reason for test in tests if not test.is_right(default)), "")


def _whole(tests: tuple[Test, ...], below: Callable[[Any], Faults] | None) -> Callable[[Any], Faults]:
    if below is not None and not tests:
        return below
    if below is None and len(tests) == 1:
        is_right, wrong = tests[0].is_right, (Fault("", tests[0].reason),)
        return lambda value: NONE if is_right(value) else wrong

    def check(value: Any) -> Faults:  # noqa: ANN401 - a field's value
        found: Faults = NONE
        for is_right, reason in tests:
            if not is_right(value):
                found = [*found, Fault("", reason)]
        if below is not None and (deeper := below(value)):
            return [*found, *deeper]
        return found

    return check


def _below(field: FieldDescriptor, rules: validate_pb2.FieldRules | None) -> Callable[[Any], Faults] | None:
    """Return the check of what is in a field: its elements, the message that it is."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return _entries(message, rules)
    if rules is not None and rules.message.skip:
        return None
    element = _message(message) if message is not None else None
    if not field.is_repeated:
        if rules is not None and _is_wrapped(field):
            return _wrapped(tests_of(rules, field))
        return element
    tests = tests_of(rules.repeated.items, field) if rules is not None and rules.repeated.HasField("items") else ()
    if not tests and element is None:
        return None
    one = _whole(tests, element)

    def elements(values: Any) -> Faults:  # noqa: ANN401 - a repeated field
        found: list[Fault] = []
        for index, value in enumerate(values):
            if faults := one(value):
                found += (Fault(_joined(f"[{index}]", each.path), each.reason) for each in faults)
        return found or NONE

    return elements


def _entries(message: Descriptor, rules: validate_pb2.FieldRules | None) -> Callable[[Any], Faults] | None:
    key, value = message.fields_by_name["key"], message.fields_by_name["value"]
    keys = tests_of(rules.map.keys, key) if rules is not None and rules.map.HasField("keys") else ()
    tests = tests_of(rules.map.values, value) if rules is not None and rules.map.HasField("values") else ()
    element = _message(value.message_type) if value.message_type is not None else None
    if not keys and not tests and element is None:
        return None
    one, has_values = _whole(tests, element), bool(tests) or element is not None

    def entries(values: Mapping[Any, Any]) -> Faults:
        found: list[Fault] = []
        for name in values:
            found += [Fault(f"[{name}]", test.reason) for test in keys if not test.is_right(name)]
            if has_values:
                found += [Fault(_joined(f"[{name}]", each.path), each.reason) for each in one(values[name])]
        return found

    return entries


def _is_wrapped(field: FieldDescriptor) -> bool:
    """Whether the field is a number or text in a message of its own, so that it can be absent."""
    return field.message_type is not None and not field.is_repeated and field.message_type.full_name in _WRAPPERS


def _wrapped(tests: tuple[Test, ...]) -> Callable[[Any], Faults] | None:
    if not tests:
        return None
    one = _whole(tests, None)
    return lambda wrapper: one(wrapper.value)


def _message(descriptor: Descriptor) -> Callable[[Any], Faults] | None:
    if descriptor.full_name == _ANY:
        return packed_faults
    if descriptor.full_name == _DURATION:
        return duration_faults
    return checker_of(descriptor).within if _matters(descriptor) else None


def duration_faults(duration: Any) -> Faults:  # noqa: ANN401 - google.protobuf.Duration
    """Return what is wrong with a length of time: Envoy knows none below zero."""
    seconds, nanos = duration.seconds, duration.nanos
    if 0 <= seconds <= _MAX_SECONDS and 0 <= nanos < _SECOND_NANOS:
        return NONE
    return [Fault("", "must not be negative" if seconds < 0 or nanos < 0 else "is longer than a duration can be")]


_MATTERS: dict[str, bool] = {}


def _matters(descriptor: Descriptor) -> bool:
    """Whether a rule stands in the type or anywhere below it."""
    known = _MATTERS.get(descriptor.full_name)
    if known is None:
        reached = _reached(descriptor)
        known = any(_states_rules(each) for each in reached)
        _MATTERS[descriptor.full_name] = known
        if not known:
            _MATTERS.update((each.full_name, False) for each in reached)
    return known


def _reached(descriptor: Descriptor) -> list[Descriptor]:
    found = {descriptor.full_name: descriptor}
    waiting = [descriptor]
    while waiting:
        for field in waiting.pop().fields:
            if field.message_type is not None and field.message_type.full_name not in found:
                found[field.message_type.full_name] = field.message_type
                waiting.append(field.message_type)
    return list(found.values())


def _states_rules(descriptor: Descriptor) -> bool:
    return (
        descriptor.full_name in {_ANY, _DURATION}
        or descriptor.full_name in CHECKS
        or any(each.GetOptions().Extensions[validate_pb2.required] for each in descriptor.oneofs)
        or any(rules_of(field) is not None or own_tests(field) for field in descriptor.fields)
    )


_CHECKERS: dict[str, Checker] = {}


def checker_of(descriptor: Descriptor) -> Checker:
    """Return the checker of a type."""
    known = _CHECKERS.get(descriptor.full_name)
    if known is None:
        known = _CHECKERS[descriptor.full_name] = Checker(descriptor)
    return known


def faults(message: Message) -> Faults:
    """Return everything that Envoy would refuse a message for, as far as that can be told; empty where it is fine."""
    descriptor: Any = message.DESCRIPTOR
    return checker_of(descriptor)(message)


def packed_faults(packed: Any) -> Faults:  # noqa: ANN401 - google.protobuf.Any
    """Return what is wrong in a packed message; one of a type that nobody knows is wrong itself."""
    type_url = packed.type_url
    if not type_url:
        return [Fault("type_url", "is required")]
    known = _packed_type(type_url)
    if known is None:
        return [Fault("type_url", f"{type_url!r} is a type that nobody knows")]
    parse, checker = known
    if checker is None:
        return NONE
    try:
        return checker.packed(parse, packed.value)
    except DecodeError:
        return [Fault("value", f"is no {type_name(type_url)}")]


@kept(1024)
def _packed_type(type_url: str) -> tuple[Callable[[bytes], Message], Checker | None] | None:
    """Return what reads messages of a type, and what checks them if need be; ``None``: nobody knows it."""
    load_type(type_url)
    try:
        descriptor: Any = descriptor_pool.Default().FindMessageTypeByName(type_name(type_url))
    except KeyError:
        return None
    return GetMessageClass(descriptor).FromString, checker_of(descriptor) if _matters(descriptor) else None


def _joined(name: str, path: str) -> str:
    if not path:
        return name
    return f"{name}{path}" if path.startswith("[") else f"{name}.{path}"
