"""``describe``: what the objects of a mesh mean for one pod or one service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.asking.where import ContextOption, KubeconfigOption, SystemOption
from controlplane.cli.fetch import fail
from controlplane.cli.plain import PlainCommand, PlainGroup
from controlplane.documents.nearest import nearest_text
from controlplane.printable import printable

if TYPE_CHECKING:
    from controlplane.analysis.resources import Resource, Resources
    from controlplane.model.kinds import GroupKind

app = typer.Typer(
    cls=PlainGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Tell what the objects of a mesh mean for one pod or one service.",
)

FilenameOption = Annotated[
    list[Path] | None,
    typer.Option("-f", "--filename", metavar="FILE", help="A file, a directory or -: looked at without a cluster."),
]
NamespaceOption = Annotated[
    str, typer.Option("-n", "--namespace", metavar="NAME", help="The namespace of a bare name.")
]


@app.command(cls=PlainCommand)
def pod(
    name: Annotated[str, typer.Argument(metavar="POD", help="NAME, NAME.NAMESPACE or NAMESPACE/NAME.")],
    filename: FilenameOption = None,
    namespace: NamespaceOption = "",
    istio_namespace: SystemOption = "istio-system",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Tell of a pod: its Services, the rules and routes for them, who may call it, and how.

    What is told is read from objects. `controlplane status` tells whether the proxy has it.
    """
    from controlplane.analysis.descriptions import Describer
    from controlplane.model import kinds

    resources, namespace = _resources(filename, namespace, istio_namespace, kubeconfig, context)
    found = _named(resources, kinds.POD, name, namespace)
    _print(Describer(resources, namespace).pod(found))


@app.command(cls=PlainCommand)
def service(
    name: Annotated[str, typer.Argument(metavar="SERVICE", help="NAME, NAME.NAMESPACE or NAMESPACE/NAME.")],
    filename: FilenameOption = None,
    namespace: NamespaceOption = "",
    ignore_unmeshed: Annotated[
        bool, typer.Option("--ignoreUnmeshed", "--ignore-unmeshed", help="Leave out pods without a proxy.")
    ] = False,
    istio_namespace: SystemOption = "istio-system",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Tell of a Service: the rules and routes for it, and for each of its pods who may call it, and how."""
    from controlplane.analysis.descriptions import Describer
    from controlplane.model import kinds

    resources, namespace = _resources(filename, namespace, istio_namespace, kubeconfig, context)
    found = _named(resources, kinds.SERVICE, name, namespace)
    _print(Describer(resources, namespace).service(found, ignore_unmeshed=ignore_unmeshed))


app.command("po", cls=PlainCommand, hidden=True)(pod)
app.command("svc", cls=PlainCommand, hidden=True)(service)


def _resources(
    files: list[Path] | None, namespace: str, istio_namespace: str, kubeconfig: str, context: str
) -> tuple[Resources, str]:
    """Return all objects of files or of the cluster, and the namespace of bare names."""
    from controlplane.cli.analysis.inputs import Inputs

    if files:
        inputs = Inputs(namespace or "default", istio_namespace)
        inputs.read_all(files)
        if inputs.unreadable:
            fail("; ".join(inputs.unreadable))
        return inputs.resources(), namespace or "default"
    from controlplane.cli.analysis.cluster import cluster_objects, current_namespace

    namespace = namespace or current_namespace(kubeconfig, context)
    inputs = Inputs(namespace, istio_namespace)
    objects, forbidden = cluster_objects(kubeconfig, context, istio_namespace)
    inputs.add_cluster(objects, forbidden, "")
    return inputs.resources(), namespace


def _named(resources: Resources, kind: GroupKind, name: str, namespace: str) -> Resource:
    """Return the object of a name, which may have its namespace before or behind it; fails where there is none."""
    before, slash, after = name.partition("/")
    if slash:
        candidates = [(before, after)]
    else:
        short, dot, behind = name.rpartition(".")
        candidates = [(namespace, name), *([(behind, short)] if dot else [])]
    found = next(filter(None, (resources.find(kind, *place) for place in candidates)), None)
    if found is None:
        tried = (f"{short} in namespace {place}" for place, short in reversed(candidates))
        fail(f"there is no {kind} {', nor '.join(tried)}{_near(resources, kind, candidates)}")
    return found


def _near(resources: Resources, kind: GroupKind, candidates: Sequence[tuple[str, str]]) -> str:
    """Return for the end of a sentence which objects may be meant by the first of these that has any like it."""
    known = [(each.namespace, each.name) for each in resources.of(kind)]
    texts = (nearest_text(name, (own for of, own in known if of == place)) for place, name in reversed(candidates))
    return next(filter(None, texts), "")


def _print(lines: Iterable[str]) -> None:
    from controlplane.analysis.resources import UnreadableKindError

    try:
        for line in lines:
            print(printable(line))
    except UnreadableKindError as error:
        fail(f"{error.kind} objects may not be read")
