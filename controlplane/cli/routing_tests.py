"""``test``: routing tests that stand beside the manifests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from controlplane.cli.asking.where import Replica, Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, Wrong, fail, fetch_json
from controlplane.cli.plain import PlainCommand

if TYPE_CHECKING:
    from controlplane.simulate.mesh import Mesh
    from controlplane.simulate.routing.cases import Case
    from controlplane.simulate.routing.coverage import Coverage

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

FAILED = 1
_CURE = "with --live name one that is connected, as pod/default/client"


class Output(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Result:
    """One request of a test: its answer (``None`` where there is none), and what is wrong, a line each."""

    case: Case
    answer: Any
    problems: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """``ok``, ``FAIL``, or ``skip`` for one that fails as it is said to."""
        if self.case.skip:
            return "skip" if self.problems else "FAIL"
        return "FAIL" if self.problems else "ok"

    @property
    def told(self) -> tuple[str, ...]:
        """What is wrong, as lines."""
        if self.case.skip and not self.problems:
            return (f"passes now, and is skipped: {self.case.skip}",)
        return self.problems


@app.command("test", cls=PlainCommand)
@asks_control_plane()
def routing_tests(
    tests: Annotated[
        list[Path], typer.Argument(metavar="TESTS", help="Files of tests, or directories with *.routes.yaml.")
    ],
    filename: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", metavar="FILE", help="A file or directory: the mesh that is tested."),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask a control plane that runs, in place of files.")] = False,
    fail_under: Annotated[
        float, typer.Option("--fail-under", min=0, max=100, help="Fail where fewer percent of the rules are reached.")
    ] = 0,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the results for CI systems.")
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How the result is printed.")] = Output.TEXT,
    *,
    where: Where,
) -> None:
    """Check that requests go where they should, without a cluster and without sending any.

    A failing test is explained as `controlplane explain` does. With -f, the rules of VirtualServices that no test
    reaches are told at the end.

    Exit codes: 0 all as expected, 1 a test fails, or too few rules are reached, 2 wrong usage.
    """
    from controlplane.cli.output import print_value
    from controlplane.cli.routing_test_files import read_tests
    from controlplane.cli.routing_tests_text import junit_text, print_results, result_words

    if live == bool(filename):
        raise typer.BadParameter("give either -f, with the mesh, or --live", param_hint="-f")
    cases = list(read_tests(tests))
    try:
        results, coverage = _of_server(where, cases) if live else asyncio.run(_of_files(filename or [], cases))
    except Unanswered as error:
        fail(str(error))
    if output is Output.JSON:
        print_value(result_words(results, coverage), "json")
    else:
        print_results(results, coverage, fail_under)
    if junit is not None:
        try:
            junit.write_text(junit_text(results), encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"{junit}: {error.strerror or error}", param_hint="--junit") from error
    under = coverage is not None and coverage.percent < fail_under
    if under or any(result.verdict == "FAIL" for result in results):
        raise typer.Exit(FAILED)


async def _of_files(paths: list[Path], cases: list[Case]) -> tuple[list[Result], Coverage]:
    from controlplane.cli.mesh_files import completed
    from controlplane.simulate.built import mesh_of
    from controlplane.simulate.routing.coverage import Coverage

    made = completed(paths)
    mesh, coverage = await mesh_of(made.change_set()), Coverage.of(made.objects)
    results = [await run_case(mesh, case) for case in cases]
    for result in results:
        if result.answer is not None:
            coverage.add(result.answer)
    return results, coverage


async def run_case(mesh: Mesh, case: Case) -> Result:
    """Ask a mesh about one request, and hold the answer against what is expected."""
    from controlplane.simulate.questions import WrongQuestionError, explained_request
    from controlplane.simulate.routing.expectations import differences

    described = case.described
    proxy = mesh.stated(case.pairs[0][1], described.model_dump()) if described is not None else None
    try:
        answer = await explained_request(mesh, case.pairs, proxy)
    except WrongQuestionError as error:
        return Result(case, None, (str(error),))
    return Result(case, answer, tuple(differences(case.wanted, answer)))


def _of_server(where: Where, cases: list[Case]) -> tuple[list[Result], None]:
    with where.replicas() as replicas:
        return _asked(replicas, cases), None


def _asked(replicas: Sequence[Replica], cases: list[Case]) -> list[Result]:
    from controlplane.cli.asking.answers import is_connected, of_one
    from controlplane.simulate.routing.expectations import differences

    results = []
    for case in cases:
        if case.described is not None:
            reason = f"{case.pairs[0][1]} is a proxy that only the file describes; {_CURE}"
            results.append(Result(case, None, (reason,)))
            continue
        try:
            path = f"/debug/explain?{urlencode(case.pairs)}"
            answer = of_one(replicas, partial(_answer, path=path), is_connected)
        except Wrong as error:
            results.append(Result(case, None, (str(error),)))
            continue
        results.append(Result(case, answer, tuple(differences(case.wanted, answer))))
    return results


def _answer(replica: Replica, path: str) -> Any:  # noqa: ANN401 - JSON
    return fetch_json(replica.address, path, "control plane")
