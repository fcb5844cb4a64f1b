"""What every API model shares: the base model, durations, numbers, string matches and selectors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar

import re2
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    WithJsonSchema,
    model_validator,
)

MAX_UINT32 = 2**32 - 1
MAX_PORT = 65535
ONE_MILLISECOND = timedelta(milliseconds=1)

_UNIT_MICROSECONDS = {"ns": 0.001, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_NUMBER_UNIT = re2.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_DURATION = re2.compile(rf"[-+]?(?:0|(?:{_NUMBER_UNIT.pattern})+)")
_LONGEST_DURATION = 100
"""Characters of one; with all units and digits that count it has fewer."""
_MAX_DURATION = timedelta(seconds=9_223_372_035)  # Envoy counts nanoseconds, in 64 bits


def json_name(name: str) -> str:
    """The protobuf JSON name of a field: an underscore goes and the character after it is capitalised."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def duration(value: object) -> timedelta:
    """Read a duration as Go writes it (``1h2m3s``, ``1.5s``, ``100ms``), which includes protobuf's JSON form.

    Raises ``ValueError`` for anything else, and for more than Envoy can hold (about 292 years).
    """
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or len(value) > _LONGEST_DURATION:
        shown = repr(value)[:_LONGEST_DURATION]
        message = f"{shown} is not a duration such as 1.5s, 100ms or 1h2m3s"
        raise ValueError(message)
    return _duration(value)


@lru_cache(maxsize=4096)
def _duration(value: str) -> timedelta:
    if _DURATION.fullmatch(value) is None:
        message = f"{value!r} is not a duration such as 1.5s, 100ms or 1h2m3s"
        raise ValueError(message)
    micros = sum(float(number) * _UNIT_MICROSECONDS[unit] for number, unit in _NUMBER_UNIT.findall(value))
    if micros > _MAX_DURATION / timedelta(microseconds=1):
        message = f"{value!r} is longer than a duration can be"
        raise ValueError(message)
    length = timedelta(microseconds=micros)
    return -length if value.startswith("-") else length


def duration_text(value: timedelta) -> str:
    """The protobuf JSON form of a duration, in seconds with as many digits as needed: ``1.5s``."""
    return f"{value / timedelta(seconds=1):.6f}".rstrip("0").rstrip(".") + "s"


def _at_least_zero(value: object) -> timedelta:
    length = duration(value)
    if length < timedelta(0):
        message = "must not be negative"
        raise ValueError(message)
    return length


def _at_least_1ms(value: object) -> timedelta:
    length = duration(value)
    if length < ONE_MILLISECOND:
        message = "must be a valid duration greater than 1ms"
        raise ValueError(message)
    if length % ONE_MILLISECOND:
        message = "must be whole milliseconds"
        raise ValueError(message)
    return length


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        message = "is a boolean where a number is expected"
        raise ValueError(message)  # noqa: TRY004 - pydantic collects ValueError, a TypeError would escape
    return value


_AS_TEXT = PlainSerializer(duration_text, return_type=str)
_DURATION_SCHEMA = WithJsonSchema({"type": "string"})
_DURATION_1MS_SCHEMA = WithJsonSchema({"type": "string", "x-at-least": "1ms"})

Duration = Annotated[timedelta, PlainValidator(_at_least_zero), _AS_TEXT, _DURATION_SCHEMA]
"""A duration that may be zero."""
PositiveDuration = Annotated[timedelta, PlainValidator(_at_least_1ms), _AS_TEXT, _DURATION_1MS_SCHEMA]
"""A duration of at least one millisecond, in whole milliseconds."""
Bool = Annotated[bool, Strict()]
Int32 = Annotated[int, BeforeValidator(_not_bool), Field(ge=-(2**31), le=2**31 - 1)]
NonNegativeInt32 = Annotated[int, BeforeValidator(_not_bool), Field(ge=0, le=2**31 - 1)]
UInt32 = Annotated[int, BeforeValidator(_not_bool), Field(ge=0, le=MAX_UINT32)]
UInt64 = Annotated[int, BeforeValidator(_not_bool), Field(ge=0, le=2**64 - 1)]
PortNumber = Annotated[int, BeforeValidator(_not_bool), Field(ge=1, le=MAX_PORT)]
Double = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
PercentDouble = Annotated[float, BeforeValidator(_not_bool), Field(ge=0, le=100, allow_inf_nan=False)]
NonEmpty = Annotated[str, Field(min_length=1)]
StringMap = dict[str, str]


class ApiModel(BaseModel):
    """A part of an API object: immutable, read from camelCase or the original snake_case names, unknown fields refused.

    ``None`` stands for an absent message or optional scalar, ``()`` and ``{}`` for an absent list or map; other
    scalars have protobuf's zero value. ``null`` in the input means absent. ``model_fields_set`` tells what was given.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=json_name,
        populate_by_name=True,
        extra="forbid",
        defer_build=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the user wrote
        if isinstance(data, dict) and None in data.values():
            return {key: value for key, value in data.items() if value is not None}
        return data

    def has(self, name: str) -> bool:
        """Whether the user gave this field, even if with its zero value (``has()`` of the CRD's rules)."""
        return name in self.model_fields_set


Model = TypeVar("Model", bound=ApiModel)


class AtMostOne(NamedTuple):
    """What ``at_most_one`` states of a model, for its schema; without a reason it is protobuf's ``oneof``."""

    names: tuple[str, ...]
    reason: str


class ModelRule(NamedTuple):
    """What ``rule`` states of a model, for its schema."""

    reason: str


def at_most_one(*names: str, reason: str = "") -> Any:  # noqa: ANN401 - pydantic's decorator proxy has no public type
    """A model validator: no more than one of these fields may be given (protobuf's ``oneof``)."""
    choices = frozenset(names)

    def check(model: Model) -> Model:
        given = choices & model.model_fields_set
        if len(given) > 1:
            message = reason or f"only one of {', '.join(json_name(name) for name in names)} can be set"
            raise ValueError(message)
        return model

    vars(check)["statement"] = AtMostOne(names, reason)
    return model_validator(mode="after")(check)


def rule(test: Callable[[Any], bool], reason: str) -> Any:  # noqa: ANN401 - pydantic's decorator proxy has no public type
    """A model validator: ``test`` of the finished model must hold (a CEL rule of the CRD)."""

    def check(model: Model) -> Model:
        if not test(model):
            raise ValueError(reason)
        return model

    vars(check)["statement"] = ModelRule(reason)
    return model_validator(mode="after")(check)


class StringMatch(ApiModel):
    """How a text is compared; none of the three (``{}``) asks only that it is there. ``regex`` is RE2, whole text."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None

    _one = at_most_one("exact", "prefix", "regex")

    @property
    def is_presence(self) -> bool:
        """Whether any text will do."""
        return self.exact is None and self.prefix is None and self.regex is None


def _no_star_in_key(key: str) -> str:
    if not key:
        message = "key must not be empty"
        raise ValueError(message)
    if "*" in key:
        message = "wildcard not allowed in label key match"
        raise ValueError(message)
    return key


def _no_star_in_value(value: str) -> str:
    if "*" in value:
        message = "wildcard not allowed in label value match"
        raise ValueError(message)
    return value


def _no_star_in_label(value: str) -> str:
    if "*" in value:
        message = "wildcard is not supported in selector"
        raise ValueError(message)
    return value


SelectorKey = Annotated[str, AfterValidator(_no_star_in_key)]
SelectorValue = Annotated[str, Field(max_length=63), AfterValidator(_no_star_in_value)]
LabelValue = Annotated[str, Field(max_length=63), AfterValidator(_no_star_in_label)]


class WorkloadSelector(ApiModel):
    """Workloads by label, all of them in force; without labels every workload of the namespace."""

    match_labels: Annotated[dict[SelectorKey, SelectorValue], Field(max_length=4096)] = Field(default_factory=dict)


class WorkloadLabelSelector(ApiModel):
    """The older form of a workload selector (ServiceEntry, Sidecar, EnvoyFilter), with ``labels``."""

    labels: Annotated[dict[str, LabelValue], Field(max_length=256)] = Field(default_factory=dict)


_NO_NAMESPACE = "cross namespace referencing is not currently supported"


def _same_namespace(value: str) -> str:
    if value:
        raise ValueError(_NO_NAMESPACE)
    return value


class PolicyTargetReference(ApiModel):
    """The object of the same namespace a policy is attached to, instead of a selector."""

    group: Annotated[
        str, Field(max_length=253, pattern=r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    ] = ""
    kind: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")]
    name: Annotated[str, Field(min_length=1, max_length=253)]
    namespace: Annotated[str, AfterValidator(_same_namespace)] = ""


TargetReferences = Annotated[tuple[PolicyTargetReference, ...], Field(max_length=16)]
ONE_TARGET = "only one of targetRefs or selector can be set"


class PortSelector(ApiModel):
    """A port by number; 0 where the number is absent."""

    number: UInt32 = 0


class Port(ApiModel):
    """A port with its protocol, of a Gateway server. ``target_port`` may not be used there."""

    number: UInt32
    protocol: str
    name: str
    target_port: UInt32 = 0


class Percent(ApiModel):
    """A share in percent, 0 to 100; fractions down to 0.0001 are meaningful."""

    value: Double = 0.0


class TLSProtocol(StrEnum):
    """TLS versions; ``TLS_AUTO`` leaves the choice to Envoy."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class WorkloadMode(StrEnum):
    """Which side of a connection is meant; ``UNDEFINED`` is both."""

    UNDEFINED = "UNDEFINED"
    CLIENT = "CLIENT"
    SERVER = "SERVER"
    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"
