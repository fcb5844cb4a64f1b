"""The mesh that files state, for commands that need no control plane."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from controlplane.cli.manifests import documents
from controlplane.documents.limits import Unreadable
from controlplane.documents.pieces import Place, objects
from controlplane.printable import printable

if TYPE_CHECKING:
    from controlplane.simulate.manifests import Manifest, Manifests


def read_manifests(paths: Iterable[Path], *, whole: bool = False, hint: str = "-f") -> list[Manifest]:
    """Read all objects of files, directories, or with ``-`` of standard input; what cannot be read is told of.

    Raises:
        typer.BadParameter: a file cannot be opened, or there is no object; with ``whole``, a part cannot be read.
            ``hint`` names the option that gave them.
    """
    from controlplane.simulate.manifests import Manifest

    found: list[Manifest] = []
    for path in paths:
        try:
            for document, piece in documents(path):
                if isinstance(document, Unreadable):
                    problem = f"{piece.file}:{piece.first + document.line - 1}: not readable: {document.reason}"
                    if whole:
                        raise typer.BadParameter(problem, param_hint=hint)
                    tell(problem)
                elif document.value is not None:
                    for within, obj in objects(document.value):
                        found.append(Manifest(obj, f"{piece.file}:{Place(piece, document.line, within, obj).line('')}"))
        except OSError as error:
            raise typer.BadParameter(f"{path}: {error.strerror or error}", param_hint=hint) from error
    if not found:
        raise typer.BadParameter(f"no object in {', '.join(map(str, paths))}", param_hint=hint)
    return found


def completed(paths: Iterable[Path]) -> Manifests:
    """Read manifests and complete them as a cluster would; refused objects are told of and left out."""
    from controlplane.simulate.manifests import Manifests

    found = Manifests.of(read_manifests(paths))
    for rejected in found.rejected:
        for problem in rejected.problems:
            tell(f"{rejected.source}: {rejected.key}: {problem}")
    return found


def tell(problem: str) -> None:
    """Tell of a problem beside the answer."""
    print(printable(f"warning: {problem}"), file=sys.stderr)
