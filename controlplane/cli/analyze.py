"""``analyze``: find mistakes between objects, in files or in a cluster, each with a code that explains it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.asking.where import ContextOption, KubeconfigOption, SystemOption
from controlplane.cli.plain import PlainCommand
from controlplane.printable import printable

if TYPE_CHECKING:
    from controlplane.analysis.analyzers.table import Analyzer
    from controlplane.analysis.resources import Message
    from controlplane.cli.analysis.inputs import Inputs

WRONG_USAGE, UNREADABLE, FOUND = 64, 65, 79
"""Exit codes, as istioctl's."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Output(StrEnum):
    """How the findings are printed; ``log`` is istioctl's word for text."""

    TEXT = "text"
    LOG = "log"
    JSON = "json"
    YAML = "yaml"


class Threshold(StrEnum):
    """Levels of findings, by the words that a finding begins with."""

    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"


_USAGE_ERROR: type[Any] = typer.BadParameter.__mro__[1]
"""What the library that typer stands on raises for wrong usage; it is another one in older versions."""


class WrongUsageError(typer.BadParameter):
    """Wrong usage, with istioctl's exit code."""

    exit_code = WRONG_USAGE

    def format_message(self) -> str:
        """Return the sentence for the user."""
        return str(self.message)


class AnalyzeCommand(PlainCommand):
    """A command that ends with istioctl's code where it is used wrongly."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own context
        """Read the arguments."""
        try:
            return super().parse_args(ctx, args)
        except _USAGE_ERROR as error:
            raise WrongUsageError(error.format_message(), error.ctx or ctx) from None

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own context
        """Run the command."""
        try:
            return super().invoke(ctx)
        except _USAGE_ERROR as error:
            raise WrongUsageError(error.format_message(), error.ctx or ctx) from None


@app.command(cls=AnalyzeCommand)
def analyze(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE", help="Files, directories or - to look at on top of the cluster.", show_default=False
        ),
    ] = None,
    filename: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", metavar="FILE", help="A file, a directory or -: looked at without a cluster."),
    ] = None,
    use_kube: Annotated[
        bool | None,
        typer.Option(
            "-k/ ",
            "--use-kube/--no-use-kube",
            help="Look at the cluster too; not where -f is given.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NAME", help="Tell of objects of this namespace alone.")
    ] = "",
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Tell of objects of all namespaces.")
    ] = False,
    suppress: Annotated[
        list[str] | None,
        typer.Option("-S", "--suppress", metavar="CODE=OBJECT", help="Leave out findings: 'IST0102=Namespace test-*'."),
    ] = None,
    analyzer: Annotated[
        list[str] | None, typer.Option("--analyzer", metavar="NAME", help="Run this analyzer alone; repeatable.")
    ] = None,
    list_analyzers: Annotated[
        bool, typer.Option("-L", "--list-analyzers", help="Print the names of the analyzers and exit.")
    ] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How findings are printed.")] = Output.TEXT,
    output_threshold: Annotated[
        Threshold, typer.Option("--output-threshold", help="Tell of findings that are as serious, or more.")
    ] = Threshold.INFO,
    failure_threshold: Annotated[
        Threshold, typer.Option("--failure-threshold", help="Fail where a finding is as serious, or more.")
    ] = Threshold.ERROR,
    mesh_config: Annotated[
        Path | None,
        typer.Option("--meshConfigFile", "--mesh-config-file", metavar="FILE", help="The mesh configuration."),
    ] = None,
    istio_namespace: SystemOption = "istio-system",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
    address: Annotated[
        str,
        typer.Option(
            "--control-plane",
            "--address",
            metavar="HOST:PORT",
            help="Tell what the control plane with this monitoring port has found, and look at nothing else.",
        ),
    ] = "",
    remote_contexts: Annotated[
        list[str] | None,
        typer.Option("--remote-contexts", metavar="NAME", help="Look at the cluster of this context too; repeatable."),
    ] = None,
) -> None:
    """Find mistakes between objects: references to nothing, conflicts, settings without effect.

    With -f the files are taken for the whole mesh, so what they refer to must be in them too. With --address nothing is
    looked at anew: it is told what a running control plane has found in its objects, in a cluster or in files.

    An object is left in peace with the annotation galley.istio.io/analyze-suppress: "IST0102,IST0118", or "*"; with
    --address only -S does that.

    Exit codes: 0 nothing found that is serious enough to fail, 79 something (as text only: JSON and YAML always end
    with 0), 65 a file cannot be read as YAML or JSON, 64 wrong usage, 1 anything else.
    """
    from controlplane.analysis.analyzers import table
    from controlplane.cli.analysis.inputs import Inputs
    from controlplane.cli.analysis.patches import patches_analyzer
    from controlplane.cli.analysis.selection import Selection

    with_cluster = use_kube if use_kube is not None else not filename
    analyzers = (*table.ANALYZERS, patches_analyzer(with_cluster=with_cluster))
    if list_analyzers:
        for each in analyzers:
            print(f"* {each.name}:\n    {each.about}")
        return
    chosen = _chosen(analyzer or [], analyzers)
    if address:
        if filename or files or use_kube or kubeconfig or context or remote_contexts or analyzer or mesh_config:
            raise typer.BadParameter(
                "a control plane has looked at its own objects, by all that it knows: leave files, clusters,"
                " --analyzer and --meshConfigFile away",
                param_hint="--address",
            )
        from controlplane.cli.analysis.asked import findings_of

        selection = Selection.of(suppress or [], "" if all_namespaces else namespace, output_threshold.value)
        found = selection.of_messages(findings_of(address))
        print_found(found, output)
        _end(Inputs("", istio_namespace), found, output, failure_threshold, f"the control plane at {address}")
        return
    if with_cluster and not (namespace or all_namespaces):
        from controlplane.cli.analysis.cluster import current_namespace

        namespace = current_namespace(kubeconfig, context)
    selection = Selection.of(suppress or [], "" if all_namespaces else namespace, output_threshold.value)
    given = [*(filename or ()), *(files or ())]
    inputs = Inputs(namespace or "default", istio_namespace)
    inputs.read_all(given, mesh_config)
    if with_cluster:
        _read_clusters(inputs, kubeconfig, context, remote_contexts or [], istio_namespace)
    else:
        inputs.add_default_gateway()
    outcome = table.analyze(inputs.resources(), chosen)
    for name, kind in outcome.skipped.items():
        print(printable(f"{name} was not run: {kind} objects may not be read"), file=sys.stderr)
    found = selection.of_messages(outcome.messages)
    target = f"the files {', '.join(map(str, given))}" if given else f"namespace: {selection.namespace or 'all'}"
    print_found(found, output)
    _end(inputs, found, output, failure_threshold, target)


def _read_clusters(inputs: Inputs, kubeconfig: str, context: str, remotes: list[str], istio_namespace: str) -> None:
    """Read one cluster, or several, whose objects are told apart by the names of their contexts."""
    from controlplane.cli.analysis.cluster import cluster_objects

    for each in (*remotes, context):
        objects, forbidden = cluster_objects(kubeconfig, each, istio_namespace)
        inputs.add_cluster(objects, forbidden, (each or "local") if remotes else "")


def _chosen(names: list[str], analyzers: tuple[Analyzer, ...]) -> tuple[Analyzer, ...]:
    if unknown := sorted(set(names) - {each.name for each in analyzers}):
        raise typer.BadParameter(f"{unknown[0]!r} is no analyzer; -L names them", param_hint="--analyzer")
    return tuple(each for each in analyzers if each.name in names) if names else analyzers


def print_found(found: list[Message], output: Output) -> None:
    """Print findings as they are asked for."""
    from controlplane.cli.analysis import printing

    if output is Output.JSON:
        print(printing.json_text(found))
    elif output is Output.YAML:
        print(printing.yaml_text(found), end="")
    elif found:
        printing.print_lines(found)


def _end(inputs: Inputs, found: list[Message], output: Output, failure_threshold: Threshold, target: str) -> None:
    """Say on standard error how it went, and end with the code for that."""
    from controlplane.analysis.codes import Level

    for problem in inputs.unreadable:
        print(printable(f"Error: {problem}"), file=sys.stderr)
    is_text = output in {Output.TEXT, Output.LOG}
    limit = Level(failure_threshold.value).rank
    if is_text and any(each.code.level.rank <= limit for each in found):
        print(f"Error: Analyzers found issues when analyzing {target}.", file=sys.stderr)
        print("docs/reference/codes.md explains each code.", file=sys.stderr)
        raise typer.Exit(UNREADABLE if inputs.unreadable else FOUND)
    if inputs.unreadable:
        raise typer.Exit(UNREADABLE)
    if is_text and not found:
        print(f"\N{HEAVY CHECK MARK} No validation issues found when analyzing {target}.", file=sys.stderr)
