"""``tag``: names for control planes that may move from one revision to another."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.install.options import (
    ContextOption,
    KubeconfigOption,
    YesOption,
    confirmed,
    say,
    stop,
    with_cluster,
)
from controlplane.cli.output import table
from controlplane.cli.plain import PlainCommand, PlainGroup

if TYPE_CHECKING:
    from controlplane.install.cluster import Cluster

Json = dict[str, Any]

PADDING = 1

app = typer.Typer(
    cls=PlainGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Give revisions names that may move from one to another.",
)

TagArgument = Annotated[str, typer.Argument(metavar="TAG", help="The name.")]
RevisionOption = Annotated[str, typer.Option("-r", "--revision", metavar="NAME", help="The revision it stands for.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Move a tag that stands for another revision.")]
AutomaticOption = Annotated[
    bool,
    typer.Option("--auto-inject-namespaces", help="Inject namespaces that say nothing, too; of the tag default."),
]


@app.command("set", cls=PlainCommand)
def set_tag(
    tag: TagArgument,
    revision: RevisionOption = "",
    overwrite: OverwriteOption = False,
    automatic: AutomaticOption = False,
    yes: YesOption = False,  # noqa: ARG001 - nothing is asked
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Let a tag stand for a revision: namespaces labelled `istio.io/rev=TAG` get their sidecars from it.

    The tag `default` is for namespaces labelled `istio-injection=enabled`, and has its revision check
    objects of no revision, unless a control plane without a revision does that.

    Exit codes: 0 done, 1 it cannot be, 2 wrong usage.
    """
    from controlplane.injector.webhooks import DEFAULT

    async def work(cluster: Cluster) -> bool:
        for each in await made(cluster, tag, revision, overwrite=overwrite, automatic=automatic):
            await cluster.apply(each)
        if tag == DEFAULT:
            await _switch(cluster, on=False)
        say(f"The tag {tag} stands for the revision {revision}. A namespace gets its sidecars from it by")
        say(f"  kubectl label namespace NAME istio-injection- istio.io/rev={tag} --overwrite")
        say("and by a restart of what runs there.")
        return True

    with_cluster(kubeconfig, context, work)


@app.command(cls=PlainCommand)
def generate(
    tag: TagArgument,
    revision: RevisionOption = "",
    overwrite: OverwriteOption = False,
    automatic: AutomaticOption = False,
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Print what `tag set` would apply.

    Exit codes: 0 done, 1 it cannot be, 2 wrong usage.
    """
    from controlplane.documents.yaml_writer import readable_yaml

    async def work(cluster: Cluster) -> bool:
        objects = await made(cluster, tag, revision, overwrite=overwrite, automatic=automatic)
        sys.stdout.write("---\n".join(readable_yaml(each) for each in objects))
        return True

    with_cluster(kubeconfig, context, work)


@app.command("list", cls=PlainCommand)
def list_tags(
    output: Annotated[str, typer.Option("-o", "--output", metavar="FORM", help="table or json.")] = "table",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Show all tags, the revisions they stand for, and the namespaces that ask for them."""
    from controlplane.install.tags import tags

    if output not in ("table", "json"):
        raise typer.BadParameter(f"{output}: must be table or json", param_hint="--output")

    async def work(cluster: Cluster) -> bool:
        found = tags(await _all(cluster, "MutatingWebhookConfiguration"), await _all(cluster, "Namespace"))
        if output == "json":
            rows = [
                {"tag": each.name, "revision": each.revision, "namespaces": list(each.namespaces)} for each in found
            ]
            print(json.dumps(rows, indent=2))
        elif not found:
            say("There is no tag.")
        else:
            lines = [(each.name, each.revision, ",".join(each.namespaces)) for each in found]
            say(table(("TAG", "REVISION", "NAMESPACES"), lines, PADDING))
        return True

    with_cluster(kubeconfig, context, work)


@app.command(cls=PlainCommand)
def remove(
    tag: TagArgument,
    yes: YesOption = False,
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Remove a tag. Pods that run keep their sidecars; namespaces that ask for it get none any more.

    Exit codes: 0 done, 1 there is none, or namespaces ask for it and nobody says yes; 2 wrong usage.
    """
    from controlplane.injector.webhooks import DEFAULT, TAG
    from controlplane.install.apply import labelled
    from controlplane.install.tags import tags

    async def work(cluster: Cluster) -> bool:
        known = tags(await _all(cluster, "MutatingWebhookConfiguration"), await _all(cluster, "Namespace"))
        found = next((each for each in known if each.name == tag), None)
        if found is None:
            names = ", ".join(each.name for each in known) or "none"
            stop(f"there is no tag {tag}; there are {names}")
        users = ", ".join(found.namespaces)
        if users and not confirmed(f"These namespaces ask for it: {users}. Proceed?", skip=yes):
            return False
        for each in await labelled(cluster, f"{TAG}={tag}"):
            await cluster.delete(each)
        if tag == DEFAULT:
            await _switch(cluster, on=True)
        say(f"The tag {tag} is removed.")
        return True

    with_cluster(kubeconfig, context, work)


async def made(cluster: Cluster, tag: str, revision: str, *, overwrite: bool, automatic: bool) -> list[Json]:
    """Return the objects of a tag for a cluster's revision.

    Raises:
        RefusedInputError: it cannot be; says why.
    """
    from controlplane.injector.webhooks import DEFAULT, TAG
    from controlplane.install import tags
    from controlplane.install.cluster import Ref
    from controlplane.install.plan import REVISION

    if not revision:
        raise typer.BadParameter("is required", param_hint="--revision")
    configurations = await _all(cluster, tags.MUTATING)
    source = tags.source(tag, revision, configurations, overwrite=overwrite)
    objects = tags.objects(tag, source, automatic=automatic)
    if tag == DEFAULT:
        name = f"istiod-{source['metadata']['labels'][REVISION]}-validator"
        validator = await cluster.read(Ref(source["apiVersion"], tags.VALIDATING, "", name))
        present = await cluster.read(Ref(source["apiVersion"], tags.VALIDATING, "", tags.VALIDATOR))
        theirs = present is not None and TAG not in (present["metadata"].get("labels") or {})
        objects += [tags.default_validator(validator)] if validator is not None and not theirs else []
    return objects


async def _switch(cluster: Cluster, *, on: bool) -> None:
    """Have the webhooks of the default revision select what they did, or nothing."""
    from controlplane.install import tags
    from controlplane.install.cluster import Ref

    ref = Ref("admissionregistration.k8s.io/v1", tags.MUTATING, "", "istio-sidecar-injector")
    found = await cluster.read(ref)
    if found is not None and (operations := tags.switched(found, on=on)):
        await cluster.patch(ref, operations)


async def _all(cluster: Cluster, kind: str) -> list[Json]:
    resource = next(each for each in await cluster.resources() if each.kind == kind)
    return await cluster.listed(resource)
