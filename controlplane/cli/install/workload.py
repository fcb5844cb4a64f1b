"""``workload``: machines that Kubernetes does not run, as istioctl's ``x workload``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.install.options import ContextOption, KubeconfigOption, refuse, say, stop, with_cluster
from controlplane.cli.plain import PlainCommand, PlainGroup
from controlplane.documents.words import is_ip

if TYPE_CHECKING:
    from controlplane.install.cluster import Cluster
    from controlplane.install.machines import Surroundings

Json = dict[str, Any]

SYSTEM = "istio-system"
AUDIENCE = "istio-ca"
_PRIVATE = 0o600
_STYLE: dict[str, Any] = {
    "cls": PlainGroup,
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "no_args_is_help": True,
}

app = typer.Typer(**_STYLE, help="Prepare machines that Kubernetes does not run.")
group_app = typer.Typer(**_STYLE, help="What like machines have in common.")
entry_app = typer.Typer(**_STYLE, help="One machine.")
app.add_typer(group_app, name="group")
app.add_typer(entry_app, name="entry")

NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="The name of the WorkloadGroup.")]
NamespaceOption = Annotated[str, typer.Option("-n", "--namespace", metavar="NAME", help="Its namespace.")]


@group_app.command("create", cls=PlainCommand)
def create(
    name: NameOption = "",
    namespace: NamespaceOption = "",
    labels: Annotated[list[str] | None, typer.Option("-l", "--labels", metavar="KEY=VALUE,...")] = None,
    annotations: Annotated[list[str] | None, typer.Option("-a", "--annotations", metavar="KEY=VALUE,...")] = None,
    ports: Annotated[list[str] | None, typer.Option("-p", "--ports", metavar="NAME=PORT,...")] = None,
    service_account: Annotated[str, typer.Option("-s", "--serviceAccount", metavar="NAME")] = "default",
) -> None:
    """Print a WorkloadGroup, to be applied with kubectl.

    Exit codes: 0 printed, 2 wrong usage.
    """
    from controlplane.cli.output import print_value
    from controlplane.install.machines import workload_group

    if not name or not namespace:
        raise typer.BadParameter("give --name and --namespace", param_hint="--name")
    stated = {
        "labels": _pairs(labels, "--labels"),
        "annotations": _pairs(annotations, "--annotations"),
        "ports": {key: _port(value) for key, value in _pairs(ports, "--ports").items()},
        "serviceAccount": service_account,
    }
    group = workload_group(name, namespace, stated)
    _check_group(group)
    print_value(group, "yaml")


def _check_group(group: Json) -> None:
    """Refuse what an API server would refuse, with each reason."""
    from controlplane.validation.verdict import verdict

    found = verdict(group)
    if found is not None and found.errors:
        raise typer.BadParameter("; ".join(map(str, found.errors)), param_hint="the WorkloadGroup")


@entry_app.command("configure", cls=PlainCommand)
def configure(
    filename: Annotated[str, typer.Option("-f", "--file", metavar="FILE", help="A file with the WorkloadGroup.")] = "",
    name: NameOption = "",
    namespace: NamespaceOption = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Where the files go.")] = None,
    cluster_id: Annotated[str, typer.Option("--clusterID", metavar="NAME", help="The cluster.")] = "Kubernetes",
    revision: Annotated[str, typer.Option("-r", "--revision", metavar="NAME", help="The control plane.")] = "",
    token_duration: Annotated[
        int, typer.Option("--tokenDuration", metavar="SECONDS", help="How long the token is good for.")
    ] = 3600,
    ingress_service: Annotated[
        str, typer.Option("--ingressService", metavar="NAME", help="The Service that leads to the control plane.")
    ] = "istio-eastwestgateway",
    ingress_ip: Annotated[str, typer.Option("--ingressIP", metavar="IP", help="Its address, if known.")] = "",
    auto_register: Annotated[
        bool, typer.Option("--autoregister", help="The machine makes a WorkloadEntry of its own.")
    ] = False,
    captures_dns: Annotated[
        bool, typer.Option("--capture-dns/--no-capture-dns", help="Names are answered by the agent.")
    ] = True,
    internal_ip: Annotated[str, typer.Option("--internalIP", metavar="IP", help="The machine's own address.")] = "",
    external_ip: Annotated[str, typer.Option("--externalIP", metavar="IP", help="Its address for others.")] = "",
    kubeconfig: KubeconfigOption = "",
    context: ContextOption = "",
) -> None:
    """Write what the agent of one machine needs: mesh.yaml, cluster.env, root-cert.pem, istio-token and hosts.

    The token and the files are for this machine alone; the token stops being good soon, so start the agent before that.

    Exit codes: 0 written, 1 something is missing, 2 wrong usage.
    """
    from controlplane.install.machines import Choices, MachineError, files

    if output is None or not (filename or (name and namespace)):
        raise typer.BadParameter("give -o, and -f or --name and --namespace", param_hint="-o")
    for option, value in (("--ingressIP", ingress_ip), ("--internalIP", internal_ip), ("--externalIP", external_ip)):
        _check_address(option, value)

    async def work(cluster: Cluster) -> bool:
        group = _of_file(filename) if filename else await _of_cluster(cluster, name, namespace)
        address = ingress_ip or await _ingress(cluster, ingress_service)
        choices = Choices(cluster_id, revision, address, auto_register, captures_dns, internal_ip, external_ip)
        try:
            made = files(group, choices, await _surroundings(cluster, group, revision, token_duration))
        except MachineError as error:
            refuse(error)
        output.mkdir(parents=True, exist_ok=True)
        for each, text in made.items():
            (output / each).touch(_PRIVATE)
            (output / each).write_text(text, encoding="utf-8")
        if not address:
            say(f"Warning: no address of {ingress_service} is known, so hosts is empty; --ingressIP gives one.")
        say(f"Configuration of a machine was written to {output}.")
        return True

    with_cluster(kubeconfig, context, work)


def _of_file(filename: str) -> Json:
    from controlplane.cli.mesh_files import read_manifests

    found = [each.value for each in read_manifests([Path(filename)]) if each.value.get("kind") == "WorkloadGroup"]
    if len(found) != 1:
        stop(f"{filename} has {len(found) or 'no'} WorkloadGroup{'s' if len(found) > 1 else ''}; one is needed")
    group: Json = found[0]
    return group


async def _of_cluster(cluster: Cluster, name: str, namespace: str) -> Json:
    from controlplane.install.cluster import Ref

    found = await cluster.read(Ref("networking.istio.io/v1", "WorkloadGroup", namespace, name))
    if found is None:
        stop(f"there is no WorkloadGroup {namespace}/{name}")
    return found


async def _surroundings(cluster: Cluster, group: Json, revision: str, seconds: int) -> Surroundings:
    """Ask the cluster for the mesh configuration, the roots of the group's namespace, and a token."""
    from controlplane.documents.yaml_reader import yaml_value
    from controlplane.install.cluster import Ref
    from controlplane.install.machines import Surroundings

    namespace = (group.get("metadata") or {}).get("namespace") or ""
    suffix = f"-{revision}" if revision not in {"", "default"} else ""
    mesh = await cluster.read(Ref("v1", "ConfigMap", SYSTEM, f"istio{suffix}"))
    text = ((mesh or {}).get("data") or {}).get("mesh", "")
    roots = await cluster.read(Ref("v1", "ConfigMap", namespace, "istio-ca-root-cert"))
    bundle = ((roots or {}).get("data") or {}).get("root-cert.pem", "")
    if not bundle:
        stop(f"there is no ConfigMap {namespace}/istio-ca-root-cert with roots; the control plane writes it")
    account = ((group.get("spec") or {}).get("template") or {}).get("serviceAccount") or "default"
    return Surroundings(yaml_value(text) or {}, bundle, await cluster.token(namespace, account, AUDIENCE, seconds))


async def _ingress(cluster: Cluster, service: str) -> str:
    """Return an address at which a Service is reached from outside, empty where it has none."""
    from controlplane.install.cluster import Ref

    found = await cluster.read(Ref("v1", "Service", SYSTEM, service))
    if found is None:
        return ""
    balancers = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    outside = [each.get("ip", "") for each in balancers] + list((found.get("spec") or {}).get("externalIPs") or ())
    return next((address for address in outside if address), "")


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for each in ",".join(given or ()).split(","):
        key, equals, value = each.strip().partition("=")
        if each.strip() and not (key and equals):
            raise typer.BadParameter(f"{each!r} is not KEY=VALUE", param_hint=option)
        if key:
            found[key] = value
    return found


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 16:
        raise typer.BadParameter(f"{text!r} is no port", param_hint="--ports")
    return int(text)


def _check_address(option: str, value: str) -> None:
    if value and not is_ip(value):
        raise typer.BadParameter(f"{value!r} is no IP address", param_hint=option)
