"""``verify-install``: whether a cluster has what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from controlplane.cli.install.options import (
    ContextOption,
    FilesOption,
    ForceOption,
    KubeconfigOption,
    ManifestsOption,
    RevisionOption,
    SetOption,
    say,
    stated,
    with_cluster,
)
from controlplane.cli.plain import PlainCommand

if TYPE_CHECKING:
    from controlplane.install.cluster import Cluster
    from controlplane.install.plan import Component

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
def verify_install(
    filename: FilesOption = [],  # noqa: B006 - typer makes a new one
    set_: SetOption = [],  # noqa: B006 - as above
    revision: RevisionOption = "",
    force: ForceOption = False,
    manifests: ManifestsOption = "",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Compare a cluster with an installation: each object is there, is what it should be, and is ready.

    Without `-f` and `--set` it is compared with what `install` was asked for last.

    Exit codes: 0 all is well, 1 something is not, or nothing is installed; 2 wrong usage.
    """
    from controlplane.install.apply import recorded
    from controlplane.install.plan import plan

    wanted = stated(filename, set_, revision, force=force, manifests=manifests) if filename or set_ else None

    async def work(cluster: Cluster) -> bool:
        return await report(cluster, plan(wanted or await recorded(cluster, revision)))

    with_cluster(kubeconfig, context, work)


async def report(cluster: Cluster, components: Sequence[Component]) -> bool:
    """Print what is wrong, and a line for each kind; return whether nothing is."""
    from controlplane.install.verification import verify

    checked = await verify(cluster, components)
    if not checked:
        say("Nothing is to be there.")
        return True
    good = Counter(each.ref.kind for each in checked if not each.problems)
    for each in checked:
        for problem in each.problems:
            say(f"✘ {each.ref}: {problem}")
    for kind, count in good.items():
        say(f"✔ {kind}: {count} as they should be" if count > 1 else f"✔ {kind}: as it should be")
    failed = sum(1 for each in checked if each.problems)
    say(f"✘ {failed} of {len(checked)} objects are not as they should be" if failed else "✔ All is as it was asked for")
    return not failed
