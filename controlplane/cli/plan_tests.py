"""Routing tests that are asked before and after a change, and what of them is another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.cli.routing_test_files import test_files, tests_of
from controlplane.simulate.routing.cases import Case
from controlplane.simulate.routing.expectations import differences


@dataclass(frozen=True, slots=True)
class AskedTest:
    """One request of a test whose answer is another, or that has none: both answers, and what is wrong with each."""

    case: Case
    before: Any
    after: Any
    problems_before: tuple[str, ...]
    problems_after: tuple[str, ...]

    @property
    def breaks(self) -> bool:
        """Whether the test fails then: what the change does to its request is not what it wants."""
        return bool(self.problems_after) and not self.case.skip

    @property
    def mends(self) -> bool:
        """Whether the test fails now and passes then."""
        return bool(self.problems_before) and not self.problems_after

    def words(self) -> dict[str, Any]:
        """Return what JSON says of it."""
        return {
            "file": self.case.file,
            "name": self.case.name,
            "values": dict(self.case.values),
            "before": self.before,
            "after": self.after,
            "problemsBefore": list(self.problems_before),
            "problemsAfter": list(self.problems_after),
        }


def tests_beside(manifests: Iterable[Path], named: Iterable[Path]) -> list[Case]:
    """Return the tests in directories of manifests, and those that are named.

    Of two files with the same path within such directories the first counts: new tests take the place of old ones.

    Raises:
        typer.BadParameter: a file cannot be read, or holds no tests.
    """
    beside: dict[Path, Path] = {}
    for directory in manifests:
        for file in test_files(directory) if directory.is_dir() else ():
            beside.setdefault(file.relative_to(directory), file)
    files = [*beside.values(), *(file for path in named for file in (test_files(path) if path.is_dir() else [path]))]
    unique = {file.resolve(): file for file in reversed(files)}
    return [case for file in reversed(unique.values()) for case in tests_of(file, alone=file in set(named))]


def question_of(cases: Iterable[Case]) -> dict[str, Any]:
    """Return the requests of tests as a question has them."""
    asked = [
        {"pairs": each.pairs, "proxy": each.described.model_dump() if each.described is not None else None}
        for each in cases
    ]
    return {"requests": asked}


def judged(cases: Sequence[Case], answers: Sequence[Any]) -> list[AskedTest]:
    """Return the tests whose answers are others, or that cannot be asked."""
    return [
        AskedTest(case, answer["before"], answer["after"], *(_problems(case, answer[at]) for at in ("before", "after")))
        for case, answer in zip(cases, answers, strict=True)
        if answer is not None
    ]


def _problems(case: Case, answer: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON
    return (answer["error"],) if "error" in answer else tuple(differences(case.wanted, answer))
