"""Where rules put what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import thread_time
from typing import NamedTuple

from controlplane.apis.problems import Problem

Findings = tuple[list[Problem], list[Problem]]
"""Errors and warnings."""

BUDGET_SECONDS = 4.0
"""Of the processor, for the rules of one object. What Kubernetes can store takes less than one."""


class Subject(NamedTuple):
    """Whose spec is checked."""

    namespace: str
    name: str
    annotations: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}


class OverBudgetError(Exception):
    """Checking an object takes longer than any object may take; caught where the rules of a kind are applied."""


def _end() -> float:
    return thread_time() + BUDGET_SECONDS


@dataclass(slots=True)
class Report:
    """Errors (the object cannot be used) and warnings (it can) as they are found.

    It belongs to one check of one object, which may take ``BUDGET_SECONDS`` of the processor.
    """

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    _end: float = field(default_factory=_end, repr=False, compare=False)

    def spend(self) -> None:
        """Stop where the time is used up; called for each part of an object that takes time.

        Raises:
            OverBudgetError: it is.
        """
        if thread_time() > self._end:
            raise OverBudgetError

    def error(self, path: str, reason: str) -> None:
        """Note a broken rule."""
        self.errors.append(Problem(path, reason))

    def warn(self, path: str, reason: str, code: str = "") -> None:
        """Note something doubtful; ``code`` is that of its kind, where there is one."""
        self.warnings.append(Problem(path, reason, code))

    @property
    def findings(self) -> Findings:
        """Errors and warnings."""
        return self.errors, self.warnings
