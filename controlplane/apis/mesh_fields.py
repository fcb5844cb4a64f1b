"""A mesh configuration as it is written: what it states, known here or not, so that nothing is ignored in silence."""

from __future__ import annotations

from typing import TypeVar

import re2
from pydantic import ValidationError

from controlplane.apis.common import ApiModel
from controlplane.apis.mesh import InvalidMeshConfigError, mapping
from controlplane.apis.problems import UNKNOWN_FIELD, path_text, problems_of
from controlplane.apis.used_fields import used_fields

ModelT = TypeVar("ModelT", bound=ApiModel)
_POSITION = re2.compile(r"\[\d+\]")


def read(model: type[ModelT], text: str) -> ModelT:
    """Read MeshConfig or MeshNetworks from YAML, no defaults of the mesh merged in; unknown fields are tolerated.

    Raises ``InvalidMeshConfigError`` with every problem.
    """
    try:
        return model.model_validate(mapping(text), extra="ignore")
    except ValidationError as error:
        raise InvalidMeshConfigError(tuple(str(each) for each in problems_of(error))) from error


def stated_fields(model: type[ApiModel], text: str) -> tuple[set[str], set[str]]:
    """Return the paths of the fields that are stated, and of those stated that the model does not have.

    Paths are as ``used_fields`` gives them. Raises ``InvalidMeshConfigError`` for a text that cannot be read.
    """
    known = used_fields(read(model, text))
    try:
        model.model_validate(mapping(text))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        unknown = {path_text(each["loc"]) for each in details if each["type"] == UNKNOWN_FIELD}
        return known, {_POSITION.sub("[]", path) for path in unknown}
    return known, set()
