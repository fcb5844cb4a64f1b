"""``check-inject``: whether a pod gets a sidecar, from whom, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.install.options import ContextOption, KubeconfigOption, say, stop, tell, with_cluster
from controlplane.cli.output import table
from controlplane.cli.plain import PlainCommand

if TYPE_CHECKING:
    from controlplane.install.cluster import Cluster

Json = dict[str, Any]

PADDING = 3
_KINDS = {
    "pod": ("v1", "Pod"),
    "po": ("v1", "Pod"),
    "deployment": ("apps/v1", "Deployment"),
    "deploy": ("apps/v1", "Deployment"),
    "statefulset": ("apps/v1", "StatefulSet"),
    "sts": ("apps/v1", "StatefulSet"),
    "daemonset": ("apps/v1", "DaemonSet"),
    "ds": ("apps/v1", "DaemonSet"),
}

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
def check_inject(
    workload: Annotated[
        str, typer.Argument(metavar="[POD]", help="A pod, or KIND/NAME: pod, deployment, statefulset, daemonset.")
    ] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", metavar="NAME", help="Where it is.")] = "default",
    labels: Annotated[
        str, typer.Option("-l", "--labels", metavar="A=B,...", help="Labels of a pod that is not there yet.")
    ] = "",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Show for each injecting webhook whether a pod goes to it, and why.

    Without a pod and without labels it is a pod that has none. Which labels decide: docs/injection.md.

    Exit codes: 0 done, 1 it cannot be told, no control plane is there or several inject the pod; 2 wrong usage.
    """
    from controlplane.install.cluster import Ref
    from controlplane.install.selection import problems, verdicts

    given = _labels(labels)
    ref = _reference(workload, namespace) if workload else None

    async def work(cluster: Cluster) -> bool:
        space = await cluster.read(Ref("v1", "Namespace", "", namespace))
        if space is None:
            stop(f"there is no namespace {namespace}")
        own = given
        if ref is not None:
            found = await cluster.read(ref)
            if found is None:
                stop(f"there is no {ref}")
            own = _labels_of(found) | given
        resource = next(each for each in await cluster.resources() if each.kind == "MutatingWebhookConfiguration")
        rows = verdicts(await cluster.listed(resource), space["metadata"].get("labels") or {}, own)
        cells = [(each.configuration, each.revision, "✔" if each.injects else "✘", each.reason) for each in rows]
        say(table(("WEBHOOK", "REVISION", "INJECTED", "REASON"), cells, PADDING))
        wrong = problems(rows)
        for each in wrong:
            tell(f"ERROR: {each}")
        return not wrong

    with_cluster(kubeconfig, context, work)


def _reference(text: str, namespace: str) -> Any:  # noqa: ANN401 - imported when it is needed
    from controlplane.install.cluster import Ref

    kind, slash, name = text.partition("/")
    if not slash:
        kind, name = "pod", text
    if kind.lower() not in _KINDS or not name:
        raise typer.BadParameter(f"{text}: must be a pod, or KIND/NAME with one of {', '.join(_KINDS)}")
    return Ref(*_KINDS[kind.lower()], namespace, name)


def _labels(text: str) -> dict[str, str]:
    found = {}
    for each in filter(None, text.split(",")):
        key, equals, value = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"{each}: must be KEY=VALUE", param_hint="--labels")
        found[key.strip()] = value.strip()
    return found


def _labels_of(obj: Json) -> dict[str, str]:
    metadata = obj["metadata"] if obj["kind"] == "Pod" else obj["spec"]["template"].get("metadata") or {}
    return dict(metadata.get("labels") or {})
