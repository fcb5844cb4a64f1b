"""Which fields the user gave, so that a log can name those that nothing translates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controlplane.apis.common import ApiModel

if TYPE_CHECKING:
    from collections.abc import Iterator


def used_fields(model: ApiModel) -> set[str]:
    """Paths of the fields that were given, as ``http[].retries.backoff``; ``{}`` stands for any key of a map.

    A message is named beside its fields: ``http[]`` and ``http[].retries`` are in the answer too.
    """
    return set(_paths(model, ""))


def _paths(value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - any value of a model
    if path:
        yield path
    if isinstance(value, ApiModel):
        prefix = f"{path}." if path else ""
        fields = type(value).model_fields
        for name in value.model_fields_set:
            yield from _paths(getattr(value, name), f"{prefix}{fields[name].alias}")
    elif isinstance(value, tuple):
        for item in value:
            yield from _paths(item, f"{path}[]")
    elif isinstance(value, dict):
        for item in value.values():
            if isinstance(item, ApiModel):
                yield from _paths(item, f"{path}{{}}")
