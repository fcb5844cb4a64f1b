"""What the validation says of each object by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controlplane.analysis import codes
from controlplane.analysis.codes import Code
from controlplane.analysis.resources import Message, Resources, message
from controlplane.apis.problems import Problem
from controlplane.model.kinds import GroupKind
from controlplane.validation.verdict import verdict

_OWN_CODES = {code.id: code for code in (codes.UNREACHABLE_RULE, codes.INEFFECTIVE_MATCH)}


def validation(kind: GroupKind) -> Callable[[Resources], Iterator[Message]]:
    """Return the analyzer of a kind."""

    def validate(resources: Resources) -> Iterator[Message]:
        for each in resources.of(kind):
            found = verdict(each.written)
            for problem in found.errors if found is not None else ():
                yield message(codes.SCHEMA_ERROR, each, problem.path, problem=str(problem))
            for problem in found.warnings if found is not None else ():
                yield message(_code(problem), each, problem.path, problem=str(problem))

    return validate


def _code(problem: Problem) -> Code:
    return _OWN_CODES.get(problem.code, codes.SCHEMA_WARNING)
