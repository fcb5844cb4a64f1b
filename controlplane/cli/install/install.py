"""``install`` and ``upgrade``: put a control plane into a cluster, and wait until it serves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.install.options import (
    ContextOption,
    FilesOption,
    ForceOption,
    KubeconfigOption,
    ManifestsOption,
    RevisionOption,
    SetOption,
    TimeoutOption,
    YesOption,
    confirmed,
    say,
    stated,
    with_cluster,
)
from controlplane.cli.plain import PlainCommand
from controlplane.settings.durations import parse_duration

if TYPE_CHECKING:
    from controlplane.install.cluster import Cluster

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
def install(
    filename: FilesOption = [],  # noqa: B006 - typer makes a new one
    set_: SetOption = [],  # noqa: B006 - as above
    revision: RevisionOption = "",
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; the cluster checks it.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait until all is ready.")] = True,
    readiness_timeout: TimeoutOption = "5m",
    verify: Annotated[bool, typer.Option("--verify", help="Compare the cluster with what was asked for.")] = False,
    force: ForceOption = False,
    manifests: ManifestsOption = "",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Install a control plane, or change the one that is there to what is stated now.

    A profile (`--set profile=minimal`; default, demo, minimal, empty), IstioOperator files and `--set` say what: each
    goes before those named earlier. What an earlier installation of the same revision had and this one has not is
    removed.

    Exit codes: 0 done, 1 it cannot be, or is not ready in time; 2 wrong usage.
    """
    from controlplane.cli.install.verify_install import report
    from controlplane.install.apply import Options, apply
    from controlplane.install.plan import plan

    wanted = stated(filename, set_, revision, force=force, manifests=manifests)
    options = Options(dry_run, duration(readiness_timeout) if wait else None)

    async def work(cluster: Cluster) -> bool:
        components = plan(wanted)
        titles = ", ".join(each.title for each in components) or "nothing"
        question = f"The profile {wanted.profile} is going to be installed: {titles}. Proceed?"
        if not confirmed(question, skip=yes or dry_run):
            return False
        await apply(cluster, components, wanted, options, say)
        say("✔ Nothing was changed" if dry_run else "✔ Installation complete")
        return not verify or dry_run or await report(cluster, components)

    with_cluster(kubeconfig, context, work)


def duration(text: str) -> timedelta:
    """Read a time such as ``90s`` or ``2m30s``."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--readiness-timeout") from error
