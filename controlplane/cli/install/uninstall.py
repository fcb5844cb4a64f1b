"""``uninstall``: take a control plane out of a cluster."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.install.options import (
    ContextOption,
    FilesOption,
    KubeconfigOption,
    YesOption,
    confirmed,
    say,
    stated,
    with_cluster,
)
from controlplane.cli.plain import PlainCommand

if TYPE_CHECKING:
    from controlplane.install.cluster import Cluster

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
def uninstall(
    revision: Annotated[str, typer.Option("-r", "--revision", metavar="NAME", help="The revision to remove.")] = "",
    purge: Annotated[bool, typer.Option("--purge", help="Remove everything, Istio's kinds and objects too.")] = False,
    filename: FilesOption = [],  # noqa: B006 - typer makes a new one
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed.")] = False,
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Remove one revision, or with `--purge` everything that any installation or control plane has made.

    A revision goes with its gateways; Istio's kinds, your objects of them, the namespace and the root of certificates
    stay. `--purge` removes these too. What Helm installed is left to Helm.

    Exit codes: 0 done, 1 it cannot be, 2 wrong usage.
    """
    from controlplane.install import removal

    if bool(revision) + purge + bool(filename) != 1:
        raise typer.BadParameter("state one of --revision NAME, -f FILE and --purge")
    if filename:
        revision = stated(filename, [], "", force=True).revision or "default"

    async def work(cluster: Cluster) -> bool:
        refs = await (removal.of_all(cluster) if purge else removal.of_revision(cluster, revision))
        if not refs:
            say("Nothing is installed." if purge else f"Nothing of revision {revision} is installed.")
            return True
        lost = await removal.configuration(cluster) if purge else []
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(each.kind for each in refs).items()))
        say(f"To be removed: {kinds}.")
        if lost:
            say(f"With them go {len(lost)} objects of Istio's kinds, {lost[0]} among them.")
        if dry_run:
            for each in refs:
                say(f"  {each}")
            return True
        if not confirmed("Proceed?", skip=yes):
            return False
        await removal.remove(cluster, refs, say)
        say("✔ Uninstall complete")
        for each in await removal.of_helm(cluster) if purge else ():
            say(f"  left: {each}, which Helm installed")
        return True

    with_cluster(kubeconfig, context, work)
