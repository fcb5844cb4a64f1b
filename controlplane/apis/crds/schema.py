"""From a model to a structural schema of Kubernetes.

Only what such a schema may hold comes out: one type for each value, no references, and alternatives (``oneOf``) only as
a question of which fields are there. Reference: Kubernetes, "Specifying a structural schema".
"""

from __future__ import annotations

import re  # noqa: TID251 - our own docstrings
import types
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator, PlainValidator
from pydantic.fields import FieldInfo

from controlplane.apis.common import MAX_PORT, ApiModel, AtMostOne, ModelRule, json_name
from controlplane.apis.crds.exceptions import FIELDS, OLD_NAMES, ONE_OF, RULES
from controlplane.apis.crds.rules import KEY_RULES, MODEL_RULES, PORT_NUMBER, VALUE_RULES, Rule, no_more_than_one

Schema = dict[str, Any]

_MAX_INT32 = 2**31 - 1
_MAX_UINT32 = 2**32 - 1
_KEYWORD: dict[type, str] = {str: "Length", tuple: "Items", dict: "Properties"}
_CODE = re.compile(r"``([^`]*)``")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*_?")


def model_schema(model: type[ApiModel]) -> Schema:
    """Return the schema of an object that this model reads.

    Raises ``LookupError`` where a validator of the model has no counterpart in ``rules``.
    """
    schema: Schema = {"description": _description(model), "type": "object"}
    properties: Schema = {}
    for name, field in sorted(model.model_fields.items(), key=lambda each: str(each[1].alias)):
        properties[str(field.alias)] = _field(model, name, field)
        if (model.__name__, name) in OLD_NAMES:
            properties[name] = properties[str(field.alias)]
    schema["properties"] = dict(sorted(properties.items()))
    required = [str(field.alias) for field in model.model_fields.values() if field.is_required()]
    if required:
        schema["required"] = required
    choices = [ONE_OF[model.__name__]] if model.__name__ in ONE_OF else []
    found = []
    for statement in _statements(model):
        match statement:
            case AtMostOne(names, ""):
                choices.append(tuple(map(json_name, names)))
            case AtMostOne(names, reason):
                found.append(no_more_than_one(tuple(_known_names(model, names)), reason))
            case ModelRule(reason):
                found.append(Rule(MODEL_RULES[reason], reason))
    if len(choices) == 1:
        schema["oneOf"] = _at_most_one(choices[0])
    elif choices:
        schema["allOf"] = [{"oneOf": _at_most_one(names)} for names in choices]
    _add_rules(schema, [*found, *RULES.get(model.__name__, ())])
    return schema


def _statements(model: type[ApiModel]) -> Iterator[AtMostOne | ModelRule]:
    for validator in model.__pydantic_decorators__.model_validators.values():
        if validator.info.mode == "after":
            yield vars(validator.func)["statement"]


def _known_names(model: type[ApiModel], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield json_name(name)
        if (model.__name__, name) in OLD_NAMES:
            yield name


def _at_most_one(names: tuple[str, ...]) -> list[Schema]:
    alternatives: list[Schema] = [{"required": [name]} for name in names]
    return [{"not": {"anyOf": alternatives}}, *alternatives]


def _field(model: type[ApiModel], name: str, field: FieldInfo) -> Schema:
    annotation: Any = field.annotation
    schema = _schema(annotation, tuple(field.metadata))
    if _is_wrapper(model, name, annotation):
        schema["nullable"] = True
    for keyword, value in FIELDS.get((model.__name__, name), {}).items():
        if value is None:
            schema.pop(keyword, None)
        else:
            schema[keyword] = value
    return schema


def _is_wrapper(model: type[ApiModel], name: str, annotation: Any) -> bool:  # noqa: ANN401 - a type expression
    """Whether this is a number or boolean in a message of its own (``UInt32Value``), for which ``null`` is absence."""
    plain, metadata, optional = _taken_apart(annotation)
    if not optional or plain not in {bool, int, float} or Le(MAX_PORT) in metadata:
        return False
    alternatives = (each.names for each in _statements(model) if isinstance(each, AtMostOne))
    return not any(name in names for names in alternatives)


def _taken_apart(annotation: Any, metadata: tuple[Any, ...] = ()) -> tuple[Any, tuple[Any, ...], bool]:  # noqa: ANN401
    """Return the plain type, everything that is said of it, and whether it may be ``None``."""
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata = (*_flat(more), *metadata)
        elif origin in {Union, types.UnionType}:
            annotation = next(each for each in get_args(annotation) if each is not type(None))
            optional = True
        else:
            return annotation, metadata, optional


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for each in metadata:
        if isinstance(each, FieldInfo):
            yield from each.metadata
        else:
            yield each


def _schema(annotation: Any, metadata: tuple[Any, ...] = ()) -> Schema:  # noqa: ANN401 - a type expression
    plain, metadata, _ = _taken_apart(annotation, metadata)
    rules = list(_rules(metadata, VALUE_RULES))
    origin = get_origin(plain) or plain
    if origin is int:
        schema = _integer(metadata)
        if schema.get("minimum") == 1 and schema.get("maximum") == MAX_PORT:
            schema |= {"minimum": 0, "maximum": _MAX_UINT32}
            rules.append(PORT_NUMBER)
    elif origin is float:
        schema = {"type": "number", "format": "double"} | _bounds(metadata)
    elif origin is tuple:
        schema = {"type": "array", "items": _schema(get_args(plain)[0])} | _sizes(origin, metadata)
    elif origin is dict:
        key, value = get_args(plain)
        schema = _map(value) | _sizes(origin, metadata)
        rules = [*_rules(_taken_apart(key)[1], KEY_RULES), *rules]
    elif origin is str:
        schema = {"type": "string"} | _sizes(origin, metadata)
    else:
        schema = _named(origin)
    _add_rules(schema, rules)
    return schema


def _named(plain: Any) -> Schema:  # noqa: ANN401 - a type
    if plain is bool:
        return {"type": "boolean"}
    if plain is timedelta:
        return {"type": "string"}
    if plain is bytes:
        return {"type": "string", "format": "byte"}
    if isinstance(plain, type) and issubclass(plain, Enum):
        return {"description": _description(plain), "type": "string", "enum": [each.value for each in plain]}
    if isinstance(plain, type) and issubclass(plain, ApiModel):
        return model_schema(plain)
    raise LookupError(f"no schema for {plain}")


def _map(value: Any) -> Schema:  # noqa: ANN401 - a type expression
    if value is Any:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"type": "object", "additionalProperties": _schema(value)}


def _integer(metadata: tuple[Any, ...]) -> Schema:
    bounds = _bounds(metadata)
    schema: Schema = {"type": "integer"}
    if bounds.get("maximum") == _MAX_INT32:
        schema["format"] = "int32"
        del bounds["maximum"]
        if bounds["minimum"] == -_MAX_INT32 - 1:
            del bounds["minimum"]
    elif bounds.get("maximum", 0) > _MAX_UINT32:
        del bounds["maximum"]  # 64 bits: JSON's numbers end before
    return schema | bounds


def _bounds(metadata: tuple[Any, ...]) -> Schema:
    """The narrowest of all bounds that are stated."""
    lower: list[Any] = [each.ge for each in metadata if isinstance(each, Ge)]
    upper: list[Any] = [each.le for each in metadata if isinstance(each, Le)]
    bounds: Schema = {}
    if lower:
        bounds["minimum"] = max(lower)
    if upper:
        bounds["maximum"] = min(upper)
    return bounds


def _sizes(origin: type, metadata: tuple[Any, ...]) -> Schema:
    sizes: Schema = {}
    for each in metadata:
        if isinstance(each, MinLen):
            sizes[f"min{_KEYWORD[origin]}"] = each.min_length
        elif isinstance(each, MaxLen):
            sizes[f"max{_KEYWORD[origin]}"] = each.max_length
        elif getattr(each, "pattern", None) is not None:
            sizes["pattern"] = each.pattern
    return sizes


def _rules(metadata: tuple[Any, ...], table: dict[str, tuple[Rule, ...]]) -> Iterator[Rule]:
    for each in metadata:
        if isinstance(each, (AfterValidator, BeforeValidator, PlainValidator)):
            function: Any = each.func
            yield from table[f"{function.__module__.rpartition('.')[2]}.{function.__name__.lstrip('_')}"]


def _add_rules(schema: Schema, rules: list[Rule]) -> None:
    if rules:
        schema["x-kubernetes-validations"] = [{"rule": each.expression, "message": each.message} for each in rules]


def _description(named: type) -> str:
    """The docstring as one line, with fields called as in YAML."""
    text = " ".join((named.__doc__ or "").split())
    return _CODE.sub(lambda code: f"`{_as_in_yaml(code[1])}`", text)


def _as_in_yaml(code: str) -> str:
    values = {"None": "null", "()": "[]"}
    return values.get(code) or (json_name(code.rstrip("_")) if _NAME.fullmatch(code) else code)
