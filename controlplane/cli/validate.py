"""``validate``: check manifests as the control plane and its webhook would, without a cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.plain import PlainCommand
from controlplane.printable import printable

if TYPE_CHECKING:
    from controlplane.cli.manifests import Checked, Finding

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Output(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


@app.command(cls=PlainCommand)
def validate(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="As -f.", hidden=True)] = None,
    filename: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", metavar="FILE", help="A file, a directory, or - for standard input."),
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How the result is printed.")] = Output.TEXT,
) -> None:
    """Check manifests of Istio's kinds, strictly: unknown fields are errors too.

    Objects of other kinds, such as Services, are counted and not checked.

    Exit codes: 0 no errors (there may be warnings), 1 errors, 2 wrong usage, or nothing there to check.
    """
    from controlplane.cli.manifests import STDIN, SUFFIXES, Checked
    from controlplane.cli.output import print_value, told_if_slow

    checked, given = Checked(), [*(filename or []), *(paths or [])]
    if not given:
        raise typer.BadParameter("give -f: what is checked", param_hint="-f")
    for path in given:
        try:
            with told_if_slow(partial(_progress, checked, path)):
                checked.read(path)
        except OSError as error:
            raise typer.BadParameter(f"{path}: {error.strerror or error}", param_hint="-f") from error
    if checked.nothing:
        names = ", ".join("standard input" if path == STDIN else str(path) for path in given)
        looked_at = f"; of a directory, files named *{', *'.join(SUFFIXES)} are read"
        where = f"{names}{looked_at if any(path.is_dir() for path in given) else ''}"
        raise typer.BadParameter(f"no object in {where}", param_hint="-f")
    if output is Output.JSON:
        print_value(_value(checked), "json")
    else:
        _print(checked)
    raise typer.Exit(1 if checked.errors else 0)


def _progress(checked: Checked, path: Path) -> str:
    return f"Checking {path}: {checked.objects} objects so far, {len(checked.errors)} errors ..."


def _print(checked: Checked) -> None:
    """Print errors, then warnings; how many there are stands on standard error, apart from what tools read."""
    for word, findings in (("error", checked.errors), ("warning", checked.warnings)):
        for finding in findings:
            print(printable(f"{word}: {finding}", keep="\n"))
    others = f"; not checked: {_by_kind(checked.others)}" if checked.others else ""
    print(
        f"{_count(checked.objects, 'object')} checked: {_count(len(checked.errors), 'error')}, "
        f"{_count(len(checked.warnings), 'warning')}{others}",
        file=sys.stderr,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _by_kind(others: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(others.items()))


def _value(checked: Checked) -> dict[str, Any]:
    return {
        "objects": checked.objects,
        "notChecked": dict(sorted(checked.others.items())),
        "errors": [_finding(each) for each in checked.errors],
        "warnings": [_finding(each) for each in checked.warnings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "file": finding.file,
        "line": finding.line,
        **finding.key.words(),
        "path": finding.problem.path,
        "reason": finding.problem.reason,
    }
