"""``plan``: what a change of objects would do to the proxies, before it is applied."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli.asking.where import Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, fail, post_json
from controlplane.cli.plain import PlainCommand

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

FAILED, CHANGES, ERRORS = 1, 2, 3
_SLOW = "Building what the proxies get, before the change and after it; of a large mesh this takes a while ..."


class Output(StrEnum):
    """How the plan is printed."""

    TEXT = "text"
    JSON = "json"


class PlanCommand(PlainCommand):
    """A command whose exit code for wrong usage is 1, as 2 says something else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own context
        """Read the arguments; see the base class."""
        found: list[str] = self._failing(super().parse_args, ctx, args)
        return found

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own context
        """Run the command; see the base class."""
        return self._failing(super().invoke, ctx)

    @staticmethod
    def _failing(do: Any, *args: Any) -> Any:  # noqa: ANN401 - typer's own
        try:
            return do(*args)
        except USAGE_ERROR as error:
            error.exit_code = FAILED
            raise


USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""What typer raises for arguments that cannot be used."""

FilesOption = Annotated[
    list[Path] | None,
    typer.Option("-f", "--filename", metavar="FILE", help="A file, a directory or -: new and changed objects."),
]
DeleteOption = Annotated[
    list[str] | None,
    typer.Option("--delete", metavar="KIND/NS/NAME", help="An object to delete: vs/shop/reviews; repeatable."),
]
BaseOption = Annotated[
    list[Path] | None,
    typer.Option("--config-dir", "--base", metavar="DIR", help="The mesh as it is now, in files; none is asked then."),
]
TestsOption = Annotated[
    list[Path] | None,
    typer.Option("--tests", metavar="TESTS", help="Routing tests: a file, or a directory with *.routes.yaml."),
]


@app.command(cls=PlanCommand)
@asks_control_plane()
def plan(
    filename: FilesOption = None,
    delete: DeleteOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what the manifests do not have; see above.")] = False,
    base: BaseOption = None,
    tests: TestsOption = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="The difference of each resource, for proxies that get the same.")
    ] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How the plan is printed.")] = Output.TEXT,
    *,
    where: Where,
) -> None:
    """Tell what a change would do: which proxies are sent what, what conflicts or breaks, which requests go elsewhere.

    Nothing is applied. A control plane that runs tries the change on a copy of itself; with --config-dir the mesh is
    made of files. Routing tests (*.routes.yaml) in these directories, and those of --tests, are asked before and after.

    --prune takes away what the manifests do not have: of a control plane, objects of Istio's kinds in the namespaces
    that the manifests are about; of files, everything.

    Exit codes: 0 nothing changes, 2 something does, 3 something does and is wrong, 1 it cannot be told.
    """
    from controlplane.cli.output import print_text, print_value, told_if_slow
    from controlplane.cli.plan_tests import judged, question_of, tests_beside
    from controlplane.cli.plan_text import plan_text

    if not (filename or delete):
        raise typer.BadParameter("give -f or --delete: what changes", param_hint="-f")
    cases = tests_beside([*(filename or []), *(base or [])], tests or [])
    question = question_of(cases) | {"delete": delete or [], "prune": prune, "patches": verbose or output == "json"}
    with told_if_slow(_SLOW):
        answer = _of_files(base, filename or [], question) if base else _of_server(where, filename or [], question)
    asked = judged(cases, answer["requests"])
    if output is Output.JSON:
        print_value(answer | {"requests": [each.words() for each in asked]}, "json")
    else:
        print_text(plan_text(answer, asked, verbose=verbose))
    if answer["errors"] or any(each.breaks for each in asked):
        raise typer.Exit(ERRORS)
    if answer["objects"]:
        raise typer.Exit(CHANGES)


def _of_server(where: Where, paths: list[Path], question: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    from controlplane.cli.asking.answers import joined_plans, of_all
    from controlplane.cli.mesh_files import read_manifests

    manifests = read_manifests(paths, whole=True) if paths else []
    written = [{"value": each.value, "source": each.source} for each in manifests]
    asked = {**question, "objects": written}
    try:
        with where.replicas() as replicas:
            found = of_all(replicas, lambda each: post_json(each.address, "/debug/plan", asked, "control plane"))
    except Unanswered as error:
        fail(str(error))
    names = ", ".join(replica.name for replica, _ in found)
    against = names if len(found) == 1 else f"{len(found)} replicas ({names})"
    return joined_plans([answer for _, answer in found]) | {"against": against}


def _of_files(base: list[Path], paths: list[Path], question: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    from controlplane.cli.mesh_files import read_manifests, tell
    from controlplane.plan.laid_over import laid_over, plan_of_files
    from controlplane.plan.question import Question
    from controlplane.simulate.questions import WrongQuestionError

    asked = Question.of(question)
    try:
        new = read_manifests(paths, whole=True) if paths else []
        over = laid_over(read_manifests(base, hint="--config-dir"), new, asked.delete, prune=asked.prune)
    except WrongQuestionError as error:
        raise typer.BadParameter(str(error)) from error
    for rejected in over.before.rejected:
        for problem in rejected.problems:
            tell(f"{rejected.source}: {rejected.key}: {problem}")
    return asyncio.run(plan_of_files(over, asked)) | {"against": ", ".join(map(str, base))}
