"""Manifests as files, directories or standard input: every object in them, checked, with the lines of its problems."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlplane.apis.problems import Problem
from controlplane.model import documents
from controlplane.model.objects import ObjectKey
from controlplane.model.places import Steps, line_of, steps
from controlplane.model.validation import Verdict, verdict

if TYPE_CHECKING:
    from yaml import Node

STDIN = Path("-")
SUFFIXES = (".yaml", ".yml", ".json")
NOWHERE = ObjectKey("", "", "")


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of one object: ``file:line`` is where it was written, as exactly as is known."""

    file: str
    line: int
    key: ObjectKey
    problem: Problem

    def __str__(self) -> str:
        subject = f"{self.key}: " if self.key.kind else ""
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
        if path == STDIN:
            self._check(sys.stdin.buffer.read(), "stdin", is_json=False)
            return
        for file in _files(path):
            self._check(file.read_bytes(), str(file), is_json=file.suffix == ".json")

    def _check(self, content: bytes, file: str, *, is_json: bool) -> None:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.errors.append(Finding(file, line, NOWHERE, Problem("", "is not UTF-8 text")))
            return
        read = documents.json_documents if is_json else documents.yaml_documents
        for first, piece in [(1, text)] if is_json else documents.chunks(text):
            for document in read(piece):
                self._check_document(document, _Text(file, first, piece))

    def _check_document(self, document: documents.Document | documents.Unreadable, text: _Text) -> None:
        if isinstance(document, documents.Unreadable):
            line = text.first + document.line - 1
            self.errors.append(Finding(text.file, line, NOWHERE, Problem("", f"not readable: {document.reason}")))
            return
        if document.value is None:
            return
        for within, obj in _objects(document.value):
            self._enter(verdict(obj), obj, within, text)
        begun = text.first + document.line - 1
        self.warnings += [Finding(text.file, begun, NOWHERE, Problem("", each)) for each in document.warnings]

    def _enter(self, found: Verdict | None, obj: Any, within: Steps, text: _Text) -> None:  # noqa: ANN401 - raw
        if found is None:
            self.others[str(obj["kind"])] += 1  # it has one: else there would be a verdict
            return
        self.objects += 1
        for problems, findings in ((found.errors, self.errors), (found.warnings, self.warnings)):
            for problem in problems:
                line = text.line((*within, *steps(obj, problem.path)[0]))
                findings.append(Finding(text.file, line, found.key, problem))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix in SUFFIXES and file.is_file() and not hidden:
            yield file


def _objects(value: Any) -> Iterator[tuple[Steps, Any]]:  # noqa: ANN401 - unread YAML
    """The objects of a document: itself, or those of a ``List`` (also of a list of lists), each with the way to it."""
    waiting: list[tuple[Steps, Any]] = [((), value)]
    while waiting:
        way, raw = waiting.pop()
        kind = raw.get("kind") if isinstance(raw, dict) else None
        items = raw.get("items") if isinstance(raw, dict) else None
        if isinstance(kind, str) and kind.endswith("List") and (items is None or isinstance(items, list)):
            waiting += reversed([((*way, "items", at), item) for at, item in enumerate(items or ())])
        else:
            yield way, raw


class _Text:
    """A piece of a file, and the lines of what is in it; the text is read again only where a line is asked for."""

    def __init__(self, file: str, first: int, text: str) -> None:
        self.file = file
        self.first = first
        self._text = text
        self._node: Node | None = None

    def line(self, way: Steps) -> int:
        """Return the line (from 1) in the file of what the way leads to."""
        if self._node is None:
            import yaml

            try:
                self._node = yaml.compose(self._text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            except yaml.YAMLError:  # JSON that is no YAML, or several documents after directives
                return self.first
        return self.first + line_of(self._node, way)
