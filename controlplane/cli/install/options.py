"""What the commands of an installation have in common: their options, and how they end."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import structlog
import typer

from controlplane.printable import printable

if TYPE_CHECKING:
    from controlplane.install.cluster import Cluster
    from controlplane.install.operator import Intent

STDIN = "-"

SetOption = Annotated[
    list[str],
    typer.Option("-s", "--set", metavar="PATH=VALUE", help="A field of an IstioOperator's spec; may be repeated."),
]
FilesOption = Annotated[
    list[str],
    typer.Option("-f", "--filename", metavar="FILE", help="An IstioOperator, - for standard input; may be repeated."),
]
RevisionOption = Annotated[str, typer.Option("-r", "--revision", metavar="NAME", help="The revision to install.")]
ManifestsOption = Annotated[str, typer.Option("-d", "--manifests", metavar="DIR", hidden=True)]
ForceOption = Annotated[bool, typer.Option("--force", help="Go on although the input has keys that nobody reads.")]
KubeconfigOption = Annotated[
    str, typer.Option("-c", "--kubeconfig", metavar="FILE", help="The file that names clusters, as kubectl's.")
]
ContextOption = Annotated[
    str, typer.Option("--context", metavar="NAME", help="The cluster, as the kubeconfig names its context.")
]
YesOption = Annotated[bool, typer.Option("-y", "--skip-confirmation", "--yes", help="Ask nothing.")]
TimeoutOption = Annotated[
    str, typer.Option("--readiness-timeout", metavar="TIME", help="How long each part may take to be ready.")
]


def stated(files: list[str], settings: list[str], revision: str, *, force: bool, manifests: str = "") -> Intent:
    """Return what is asked for; tell what is wrong with it, and end where that is more than a warning."""
    from controlplane.install.errors import RefusedInputError
    from controlplane.install.keys import findings
    from controlplane.install.operator import intent

    if manifests:
        raise typer.BadParameter("the charts are those of this program", param_hint="--manifests")
    given = [*settings, *([f"revision={revision}"] if revision else [])]
    try:
        found = intent([(_name(each), _text(each)) for each in files], given)
    except RefusedInputError as error:
        refuse(error)
    errors, warnings = findings(found)
    for each in warnings:
        tell(f"Warning: {each}")
    for each in errors:
        tell(f"{'Warning' if force else 'Error'}: {each}")
    if errors and not force:
        tell("Nothing was done. --force goes on without what nobody reads.")
        raise typer.Exit(1)
    return found


def with_cluster(kubeconfig: str, context: str, work: Callable[[Cluster], Awaitable[bool]]) -> None:
    """Run something with a cluster; end with 1 where it returns false, or the cluster is away or refuses."""
    from controlplane.install.apply import NotReadyError
    from controlplane.install.cluster import cluster
    from controlplane.install.errors import RefusedInputError
    from controlplane.watchers.kubernetes.errors import ConfigurationError, RefusedError, UnreachableError

    async def run() -> bool:
        async with cluster(usual_kubeconfig(kubeconfig, context), context) as found:
            return await work(found)

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # it is told once, below
    try:
        done = asyncio.run(run())
    except RefusedInputError as error:
        refuse(error)
    except UnreachableError as error:
        stop(f"the cluster does not answer: {error}")
    except RefusedError as error:
        stop(f"the cluster refuses: {error.message}")
    except (ConfigurationError, NotReadyError) as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("ended before it was done; the same command goes on from here")
    if not done:
        raise typer.Exit(1)


def usual_kubeconfig(kubeconfig: str, context: str) -> str:
    """Return the kubeconfig that kubectl would take; empty inside a pod, and where there is none."""
    if kubeconfig or os.environ.get("KUBECONFIG") or (os.environ.get("KUBERNETES_SERVICE_HOST") and not context):
        return kubeconfig
    usual = Path.home() / ".kube" / "config"
    return str(usual) if usual.is_file() else ""


def confirmed(question: str, *, skip: bool) -> bool:
    """Whether a person says yes; without a terminal nobody does."""
    if skip:
        return True
    if not sys.stdin.isatty():
        tell("Nothing was done: nobody can be asked here, and -y says yes.")
        return False
    tell(f"{question} (y/N)")
    answer = sys.stdin.readline().strip().lower()
    return answer in ("y", "yes")


def say(text: str) -> None:
    """Print a line of progress."""
    print(printable(text, keep="\n"), flush=True)


def tell(text: str) -> None:
    """Print a line on standard error."""
    print(printable(text, keep="\n"), file=sys.stderr, flush=True)


def stop(text: str) -> NoReturn:
    """End with 1, and say why."""
    tell(f"Error: {text}")
    raise typer.Exit(1)


def refuse(error: Exception) -> NoReturn:
    """End with 1 after an input that cannot be used, and say all that is wrong with it."""
    for each in getattr(error, "problems", (str(error),)):
        tell(f"Error: {each}")
    raise typer.Exit(1) from error


def _name(file: str) -> str:
    return "standard input" if file == STDIN else file


def _text(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}", param_hint="-f") from error
    return content.decode("utf-8-sig", errors="replace")
