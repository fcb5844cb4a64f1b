"""``precheck``: whether a cluster can take an installation or an upgrade, before anything is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.analyze import Output, Threshold
from controlplane.cli.install.options import ContextOption, KubeconfigOption, tell, with_cluster
from controlplane.cli.plain import PlainCommand

if TYPE_CHECKING:
    from controlplane.analysis.resources import Message
    from controlplane.install.cluster import Cluster

Json = dict[str, Any]

LEAST = (1, 30)
"""The first Kubernetes in which webhooks have conditions (``matchConditions``) for everybody."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
def precheck(
    filename: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", metavar="FILE", help="A file or directory, looked at without a cluster."),
    ] = None,
    skip_controlplane: Annotated[
        bool, typer.Option("--skip-controlplane", help="Ask nothing about rights and the version of Kubernetes.")
    ] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="How findings are printed.")] = Output.TEXT,
    output_threshold: Annotated[
        Threshold, typer.Option("--output-threshold", help="Tell of findings that are as serious, or more.")
    ] = Threshold.WARNING,
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Tell what stands in the way of an installation: the version of Kubernetes, rights that you lack.

    With `--output-threshold Info` also what may change some day: annotations of features in their alpha phase.

    Exit codes: 0 nothing does, 1 something, or the cluster is away; 2 wrong usage.
    """
    from controlplane.analysis.analyzers import table
    from controlplane.cli.analysis.inputs import Inputs
    from controlplane.cli.analysis.selection import Selection
    from controlplane.cli.analyze import print_found

    inputs = Inputs("default", "istio-system")
    found: list[Message] = []
    if filename:
        inputs.read_all(filename)
    else:
        from controlplane.cli.analysis.cluster import cluster_objects

        async def work(cluster: Cluster) -> bool:
            found.extend(await of_cluster(cluster))
            return True

        if not skip_controlplane:
            with_cluster(kubeconfig, context, work)
        inputs.add_cluster(*cluster_objects(kubeconfig, context, "istio-system"), "")
    found += table.analyze(inputs.resources(), table.BEFORE_UPGRADE).messages
    told = Selection.of([], "", output_threshold.value).of_messages(found)
    print_found(told, output)
    if any(each.code.level.rank <= 1 for each in told):
        raise typer.Exit(1)
    if output in (Output.TEXT, Output.LOG):
        tell("✔ Nothing stands in the way of an installation or an upgrade.")


async def of_cluster(cluster: Cluster) -> list[Message]:
    """Return what the version of a cluster and the rights in it are too little for."""
    from controlplane.analysis import codes
    from controlplane.analysis.analyzers.table import NOTHING
    from controlplane.analysis.resources import message
    from controlplane.install.operator import intent
    from controlplane.install.plan import plan

    found = []
    said = await cluster.version()
    number = tuple(int("".join(filter(str.isdecimal, str(said.get(each)))) or 0) for each in ("major", "minor"))
    if number < LEAST:
        version, least = str(said.get("gitVersion")), ".".join(map(str, LEAST))
        found.append(message(codes.UNSUPPORTED_VERSION, NOTHING, "", version=version, least=least))
    kinds = {(obj["apiVersion"], obj["kind"]): obj for each in plan(intent([], [])) for obj in each.objects}
    for (api_version, kind), obj in sorted(kinds.items()):
        reason = await _refused(cluster, api_version, kind, obj["metadata"].get("namespace", ""))
        if reason is not None:
            found.append(message(codes.INSUFFICIENT_PERMISSIONS, NOTHING, "", kind=kind, reason=reason))
    return found


async def _refused(cluster: Cluster, api_version: str, kind: str, namespace: str) -> str | None:
    """Return why an object of a kind may not be created, ``None`` where it may."""
    group = api_version.rpartition("/")[0]
    resource = next((e for e in await cluster.resources() if (e.group, e.kind) == (group, kind)), None)
    if resource is None:
        return "the cluster does not serve it"
    attributes = {"verb": "create", "group": group, "resource": resource.plural, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {},
        "spec": {"resourceAttributes": attributes},
    }
    status = (await cluster.create(review)).get("status") or {}
    return None if status.get("allowed") else str(status.get("reason") or "no rule allows it")
