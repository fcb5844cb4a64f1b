"""Reading parts of a policy of which the whole cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controlplane.apis.parse import parse_spec
from controlplane.apis.validation.report import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controlplane.apis.common import ApiModel, Model

_NOBODY = Subject("default", "policy")


def stated_fields(model: type[ApiModel], raw: object) -> tuple[dict[str, Any], bool]:
    """Return the known fields of a ``spec`` by their names in Python, and whether there are others.

    Fields of ``null`` are absent. What is no mapping has no known fields, and others.
    """
    if raw is None:
        return {}, False
    if not isinstance(raw, dict):
        return {}, True
    names = {field.alias: name for name, field in model.model_fields.items()} | {
        name: name for name in model.model_fields
    }
    given = {key: value for key, value in raw.items() if value is not None}
    known = {names[key]: value for key, value in given.items() if key in names}
    return known, any(key not in names for key in given)


def readable(kind: str, model: type[Model], spec: Mapping[str, Any]) -> Model | None:
    """Return what a few fields of a policy say; ``None`` where something is wrong with them."""
    found = parse_spec(kind, spec, _NOBODY).model
    return found if isinstance(found, model) else None
