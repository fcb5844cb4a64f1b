"""Where rules put what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.apis.problems import Problem

Findings = tuple[list[Problem], list[Problem]]
"""Errors and warnings."""


class Subject(NamedTuple):
    """Whose spec is checked."""

    namespace: str
    name: str
    annotations: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}


@dataclass(slots=True)
class Report:
    """Errors (the object cannot be used) and warnings (it can) as they are found."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, path: str, reason: str) -> None:
        """Note a broken rule."""
        self.errors.append(Problem(path, reason))

    def warn(self, path: str, reason: str) -> None:
        """Note something doubtful."""
        self.warnings.append(Problem(path, reason))

    @property
    def findings(self) -> Findings:
        """Errors and warnings."""
        return self.errors, self.warnings
