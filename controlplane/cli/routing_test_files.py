"""Files of routing tests, and those that stand beside manifests in a directory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from controlplane.documents.limits import Unreadable
from controlplane.documents.pieces import is_routing_tests, objects, pieces
from controlplane.simulate.routing.cases import BadTestsError, Case, cases

_ENDINGS = (".routes.yaml", ".routes.yml")
"""How the names of files end that are looked for in a directory."""


def read_tests(paths: Iterable[Path]) -> Iterator[Case]:
    """Read all tests of files, and of the files ``*.routes.yaml`` below directories.

    Raises:
        typer.BadParameter: a file cannot be read, or holds no tests; a directory has no such file.
    """
    for path in paths:
        if not path.is_dir():
            yield from tests_of(path, alone=True)
            continue
        files = test_files(path)
        if not files:
            raise typer.BadParameter(f"{path} has no file *{' or *'.join(_ENDINGS)}")
        for file in files:
            yield from tests_of(file, alone=False)


def test_files(directory: Path) -> list[Path]:
    """Return the files below a directory that are named as files of tests are."""
    return sorted(each for each in directory.rglob("*") if each.name.endswith(_ENDINGS))


def tests_of(file: Path, *, alone: bool) -> Iterator[Case]:
    """Read the tests of a file; ``alone`` says that it was named, so that it must hold nothing else.

    Raises:
        typer.BadParameter: it cannot be read, or holds something else.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}") from error
    for document, piece in pieces(content, str(file), is_json=False):
        if isinstance(document, Unreadable):
            raise typer.BadParameter(f"{file}:{piece.first + document.line - 1}: {document.reason}")
        value = document.value
        if value is None or (not alone and not is_routing_tests(value) and _are_objects(value)):
            continue
        try:
            yield from cases(value, str(file))
        except BadTestsError as error:
            raise typer.BadParameter(str(error)) from error


def _are_objects(value: object) -> bool:
    """Whether a document holds objects of Kubernetes, which another command reads."""
    return all(isinstance(obj, dict) and "kind" in obj for _, obj in objects(value))
