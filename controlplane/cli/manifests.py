"""Manifests as files, directories or standard input: every object in them, checked, with the lines of its problems."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.apis.problems import Problem
from controlplane.documents.limits import Document, Unreadable
from controlplane.documents.pieces import Piece, Place, objects, pieces
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.validation.verdict import Verdict, verdict

STDIN = Path("-")
SUFFIXES = (".yaml", ".yml", ".json")
NOWHERE = ObjectKey(kinds.NO_KIND, "", "")


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of one object: ``file:line`` is where it was written, as exactly as is known."""

    file: str
    line: int
    key: ObjectKey
    problem: Problem

    def __str__(self) -> str:
        subject = f"{self.key}: " if self.key.kind.name else ""
        return f"{self.file}:{self.line}: {subject}{self.problem}"


@dataclass(slots=True)
class Checked:
    """What was found in all that was given; ``others`` counts the objects that are not checked, by their kinds.

    Core kinds of Kubernetes are such: its API server checks them.
    """

    objects: int = 0
    others: Counter[str] = field(default_factory=Counter)
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether there was no object at all, nor anything that should have been one."""
        return not (self.objects or self.others or self.errors or self.warnings)

    def read(self, path: Path) -> None:
        """Check a file, the files of a directory and of those below it, or with ``-`` standard input.

        Raises:
            OSError: it cannot be read.
        """
        for document, piece in documents(path):
            self._check_document(document, piece)

    def _check_document(self, document: Document | Unreadable, piece: Piece) -> None:
        if isinstance(document, Unreadable):
            line = piece.first + document.line - 1
            self.errors.append(Finding(piece.file, line, NOWHERE, Problem("", f"not readable: {document.reason}")))
            return
        if document.value is None:
            return
        for within, obj in objects(document.value):
            self._enter(verdict(obj), obj, Place(piece, document.line, within, obj))
        begun = piece.first + document.line - 1
        self.errors += [Finding(piece.file, begun, NOWHERE, Problem("", each)) for each in document.warnings]

    def _enter(self, found: Verdict | None, obj: Any, place: Place) -> None:  # noqa: ANN401 - raw
        if found is None:
            self.others[str(obj["kind"])] += 1  # it has one: else there would be a verdict
            return
        self.objects += 1
        for problems, findings in ((found.errors, self.errors), (found.warnings, self.warnings)):
            for problem in problems:
                findings.append(Finding(place.file, place.line(problem.path), found.key, problem))


def documents(path: Path) -> Iterator[tuple[Document | Unreadable, Piece]]:
    """Read a file, the files of a directory and of those below it, or with ``-`` standard input.

    Raises:
        OSError: it cannot be read.
    """
    if path == STDIN:
        yield from pieces(sys.stdin.buffer.read(), "stdin", is_json=False)
        return
    for file in _files(path):
        yield from pieces(file.read_bytes(), str(file), is_json=file.suffix == ".json")


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and file.suffix in SUFFIXES and file.is_file():
                yield file
