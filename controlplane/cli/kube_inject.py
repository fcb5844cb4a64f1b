"""``kube-inject``: manifests with sidecars in their pods, all else as it was."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.asking.where import ContextOption, KubeconfigOption, SystemOption
from controlplane.cli.plain import PlainCommand
from controlplane.printable import printable

if TYPE_CHECKING:
    from controlplane.cli.injection_sources import Sources

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

STDIN = "-"


@app.command(cls=PlainCommand)
def kube_inject(
    filename: Annotated[
        str, typer.Option("-f", "--filename", metavar="FILE", help="A file, or - for standard input.")
    ] = "",
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Where the result goes.")] = "",
    mesh_config: Annotated[
        str, typer.Option("--meshConfigFile", metavar="FILE", help="The mesh configuration, in YAML.")
    ] = "",
    values: Annotated[
        str, typer.Option("--valuesFile", metavar="FILE", help="The values of the installation, in JSON or YAML.")
    ] = "",
    inject_config: Annotated[
        str,
        typer.Option("--injectConfigFile", metavar="FILE", help="The injector's configuration, with your templates."),
    ] = "",
    operator: Annotated[
        str,
        typer.Option(
            "--operatorFileName", metavar="FILE", help="An IstioOperator: its mesh configuration and values go first."
        ),
    ] = "",
    revision: Annotated[str, typer.Option(help="The revision of the control plane.")] = "",
    use_kube: Annotated[
        bool | None,
        typer.Option(
            "--use-kube/--no-use-kube",
            help="Whether a cluster states what no file does; by default where kubectl would find one.",
        ),
    ] = None,
    istio_namespace: SystemOption = "istio-system",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Print manifests with sidecars in their pods, as the webhook would put them there.

    Deployments, DaemonSets, StatefulSets, ReplicaSets, ReplicationControllers, Jobs, CronJobs, Pods and Lists of them
    are injected; every other object is printed byte for byte. What no file states of mesh, values and templates is that
    of the cluster, else the defaults.

    Exit codes: 0 done, 1 an object cannot be injected, 2 wrong usage.
    """
    from controlplane.cli.injected_text import injected_text
    from controlplane.cli.injection_sources import Cluster, Sources
    from controlplane.injector.errors import InjectionError

    if not filename:
        raise typer.BadParameter("filename not specified (see --filename or -f)", param_hint="-f")
    content = sys.stdin.buffer.read() if filename == STDIN else _bytes(filename, "-f")
    where = "standard input" if filename == STDIN else filename
    native = os.environ.get("ENABLE_NATIVE_SIDECARS") == "true"
    sources = Sources(_text(mesh_config), _text(values), _text(inject_config), revision, native)
    cluster = Cluster(kubeconfig, context, istio_namespace)
    try:
        if operator:
            sources.operator(_bytes(operator, "--operatorFileName").decode(errors="replace"))
        if use_kube or (use_kube is None and not sources.complete and cluster.file):
            sources.ask(cluster)
        injected, notes = injected_text(content, where, sources.settings())
    except InjectionError as error:
        print(printable(f"Error: {error}", keep="\n\t"), file=sys.stderr)
        raise typer.Exit(1) from error
    _write(injected, output)
    _tell(sources, notes)


def _bytes(path: str, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror or error}", param_hint=option) from error


def _text(path: str) -> str | None:
    return _bytes(path, path).decode("utf-8-sig", errors="replace") if path else None


def _write(injected: bytes, output: str) -> None:
    if output:
        try:
            Path(output).write_bytes(injected)
        except OSError as error:
            raise typer.BadParameter(f"{output}: {error.strerror or error}", param_hint="-o") from error
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(injected)
    sys.stdout.buffer.flush()


def _tell(sources: Sources, notes: list[str]) -> None:
    """Tell on standard error what a person should know, apart from what tools read."""
    for note in sources.notes:
        print(printable(note), file=sys.stderr)
    if notes:
        print("\n" + "\n".join(f"===> {printable(note)}" for note in notes), file=sys.stderr)
