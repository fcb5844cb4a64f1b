"""``proxy-config``: the subcommands, and where their dumps come from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from controlplane.cli.asking.answers import of_one
from controlplane.cli.asking.where import Where, asks_control_plane
from controlplane.cli.fetch import (
    ENVOY_ADMIN,
    MAX_DUMP,
    Unanswered,
    fail,
    fetch_json,
    split_address,
)
from controlplane.cli.habits import proxy_named
from controlplane.cli.live import admin_port
from controlplane.cli.output import print_aside, print_text, print_value, table
from controlplane.cli.plain import PlainCommand, PlainGroup
from controlplane.cli.proxy_config import clusters, endpoints, listeners, routes
from controlplane.cli.proxy_config.difference import difference
from controlplane.cli.proxy_config.dump import Dump, Json, NotADump
from controlplane.cli.proxy_config.filters import (
    ClusterOption,
    DirectionOption,
    EndpointAddressOption,
    FqdnOption,
    ListenerAddressOption,
    NameOption,
    PortOption,
    StatusOption,
    SubsetOption,
    TypeOption,
)
from controlplane.cli.proxy_config.names import shown
from controlplane.documents.json_reader import json_value
from controlplane.printable import printable

LISTENER_PADDING = 1
PADDING = 5

app = typer.Typer(
    cls=PlainGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Show the listeners, routes, clusters and endpoints of one proxy.",
)


class Output(Enum):
    """How the answer is printed."""

    SHORT = "short"
    JSON = "json"
    YAML = "yaml"


class Source(Enum):
    """Whose word is taken: Envoy's, or the control plane's."""

    ENVOY = "envoy"
    CONTROL_PLANE = "control-plane"


ProxyName = Annotated[
    str, typer.Argument(metavar="PROXY", help="NAME.NAMESPACE; needed where the control plane is asked.")
]
NamespaceOption = Annotated[
    str, typer.Option("-n", "--namespace", metavar="NAME", help="The namespace of a bare NAME.")
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the answer.")]
AdminOption = Annotated[
    str,
    typer.Option(
        envvar="CONTROLPLANE_ENVOY_ADMIN",
        metavar="HOST:PORT",
        help=f"Envoy's admin port. Without, that of the proxy's pod where a cluster is named, or {ENVOY_ADMIN}.",
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="Read Envoy's dump from a file, - for standard input."),
]
SourceOption = Annotated[Source, typer.Option(help="What the proxy holds, or what it should hold.")]
DiffOption = Annotated[bool, typer.Option("--diff", help="Show the difference of both; exits with 1 if there is one.")]
VerboseOption = Annotated[bool, typer.Option("--verbose/--no-verbose", help="Every part, or only an overview.")]


@dataclass(frozen=True)
class Origin:
    """Where dumps come from, as the options say."""

    proxy: str
    admin: str
    file: Path | None
    source: Source
    where: Where

    def __post_init__(self) -> None:
        if self.admin:
            split_address(self.admin)

    def read(self, *, hosts: bool = False) -> Dump:
        """Return the dump that was asked for; with ``hosts`` Envoy's view of hosts instead where it can be had."""
        if self.source is Source.CONTROL_PLANE:
            return self.control_plane()
        if hosts and self.file is None:
            return _dump(lambda: self._of_envoy("/clusters?format=json"), self._envoys_name())
        return self.envoy()

    def control_plane(self) -> Dump:
        """Return what the proxy should hold."""
        if not self.proxy:
            raise typer.BadParameter("name the PROXY that the control plane is asked about")
        path = f"/debug/config_dump?proxyID={quote(self.proxy)}&include_eds=true"
        return _dump(lambda: self._asked(path), "the control plane")

    def _asked(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the answer of the replica that the proxy is connected to."""
        with self.where.replicas() as replicas:
            return of_one(replicas, lambda each: fetch_json(each.address, path, "control plane"))

    def envoy(self) -> Dump:
        """Return what the proxy holds."""
        file = self.file
        if file is not None:
            return _dump(lambda: _read(file), str(file))
        dump = _dump(lambda: self._of_envoy("/config_dump?include_eds"), self._envoys_name())
        node = dump.node_id()
        if self.proxy and node and self.proxy not in node:
            fail(
                f"{self._envoys_name()} calls itself {node}, not {self.proxy};"
                " name that one's admin port with --admin, or use --source control-plane"
            )
        return dump

    def _envoys_name(self) -> str:
        return f"the Envoy at {self.admin or ENVOY_ADMIN}" if self.admin or not self.proxy else "the Envoy that answers"

    def _of_envoy(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return a page of the proxy's Envoy, which is found through the API server where a cluster is named."""
        with admin_port(self.proxy, self.admin, self.where) as address:
            return fetch_json(address, path, "Envoy")


def _dump(read: Callable[[], Any], where: str) -> Dump:
    try:
        return Dump.of(read())
    except Unanswered as error:
        fail(str(error))
    except NotADump as error:
        fail(f"{where}: {error}")


def _read(file: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()  # JSON is UTF-8 in every locale
    except OSError as error:
        raise Unanswered(f"{file} cannot be read: {error.strerror}") from error
    try:
        return json_value(text, limit=MAX_DUMP)
    except ValueError as error:
        raise Unanswered(f"{file} is not JSON: {error}") from error


def _differ(origin: Origin, kinds: Sequence[str], *filters: object) -> None:
    """Print for each kind whether both sides match, with the difference; exit with 1 if one does not."""
    if origin.source is not Source.ENVOY:
        raise typer.BadParameter("--diff compares both sources; leave --source away")
    if any(filters):
        raise typer.BadParameter("--diff compares everything of its kind; leave the filters away")
    wanted, held = origin.control_plane(), origin.envoy()
    differences = {kind: difference(kind, wanted, held) for kind in kinds}
    for kind, lines in differences.items():
        print(f"{kind} Don't Match" if lines else f"{kind} Match")
        print("".join(f"{printable(line)}\n" for line in lines), end="")
    if warming := held.warming():
        print_aside(f"Warning: Envoy does not use these yet, it is still warming: {', '.join(warming)}")
    if any(differences.values()):
        raise typer.Exit(1)


def _chosen(choice: Enum | None) -> str:
    return "" if choice is None else str(choice.value)


def _print_resources(resources: Sequence[Json], output: Output) -> None:
    print_value([shown(each) for each in resources], output.value)


def _cluster_table(selected: list[Json], prefix: str = "") -> str:
    rows = [[*_named(prefix, each.get("name", "")), *clusters.cluster_row(each)] for each in selected]
    return table([*_named(prefix, None), *clusters.HEADER], rows, PADDING)


def _listener_table(selected: list[Json], prefix: str = "", *, verbose: bool = True) -> str:
    header = listeners.HEADER if verbose else listeners.SHORT_HEADER
    rows = [
        [*_named(prefix, each.get("name", "")), *row]
        for each in selected
        for row in (listeners.listener_rows(each) if verbose else [listeners.short_row(each)])
    ]
    return table([*_named(prefix, None), *header], rows, LISTENER_PADDING)


def _route_table(selected: list[Json], prefix: str = "", *, verbose: bool = True) -> str:
    header = routes.HEADER if verbose else routes.SHORT_HEADER
    rows = [row for each in selected for row in (routes.route_rows(each) if verbose else [routes.short_row(each)])]
    return table(header, [[f"{prefix}{name}", *rest] for name, *rest in rows], PADDING)


def _endpoint_table(selected: list[endpoints.Host], prefix: str = "") -> str:
    rows = [[*_named(prefix, host.cluster), *host.row] for host in selected]
    return table([*_named(prefix, None), *endpoints.HEADER], rows, PADDING)


def _named(prefix: str, name: str | None) -> list[str]:
    """Return the extra leading cell of ``all``: nothing without a prefix, the heading without a name."""
    if not prefix:
        return []
    return ["NAME" if name is None else f"{prefix}{name}"]


@app.command("listeners", hidden=True, cls=PlainCommand)
@app.command("l", hidden=True, cls=PlainCommand)
@app.command("listener", cls=PlainCommand)
@asks_control_plane(beside_address=True)
def listener(
    proxy: ProxyName = "",
    *,
    namespace: NamespaceOption = "",
    port: PortOption = 0,
    address: ListenerAddressOption = "",
    kind: TypeOption = None,
    verbose: VerboseOption = True,
    output: OutputOption = Output.SHORT,
    admin: AdminOption = "",
    file: FileOption = None,
    source: SourceOption = Source.ENVOY,
    diff: DiffOption = False,
    where: Where,
) -> None:
    """Show the listeners, a line for each filter chain: what it takes and where that goes."""
    origin = Origin(proxy_named(proxy, namespace), admin, file, source, where)
    if diff:
        return _differ(origin, ["Listeners"], port, address, kind)
    selected = listeners.selected_listeners(
        origin.read().listeners(), listeners.ListenerFilter(address=address, port=port, type=_chosen(kind))
    )
    if output is not Output.SHORT:
        return _print_resources(selected, output)
    return print_text(_listener_table(selected, verbose=verbose))


@app.command("routes", hidden=True, cls=PlainCommand)
@app.command("r", hidden=True, cls=PlainCommand)
@app.command("route", cls=PlainCommand)
@asks_control_plane()
def route(
    proxy: ProxyName = "",
    *,
    namespace: NamespaceOption = "",
    name: NameOption = "",
    verbose: VerboseOption = True,
    output: OutputOption = Output.SHORT,
    admin: AdminOption = "",
    file: FileOption = None,
    source: SourceOption = Source.ENVOY,
    diff: DiffOption = False,
    where: Where,
) -> None:
    """Show the routes: domains, the path that is matched, and the VirtualService behind it."""
    origin = Origin(proxy_named(proxy, namespace), admin, file, source, where)
    if diff:
        return _differ(origin, ["Routes"], name)
    selected = routes.selected_routes(origin.read().routes(), name)
    if output is not Output.SHORT:
        return _print_resources(selected, output)
    return print_text(_route_table(selected, verbose=verbose))


@app.command("clusters", hidden=True, cls=PlainCommand)
@app.command("c", hidden=True, cls=PlainCommand)
@app.command("cluster", cls=PlainCommand)
@asks_control_plane()
def cluster(
    proxy: ProxyName = "",
    *,
    namespace: NamespaceOption = "",
    fqdn: FqdnOption = "",
    port: PortOption = 0,
    subset: SubsetOption = "",
    direction: DirectionOption = None,
    output: OutputOption = Output.SHORT,
    admin: AdminOption = "",
    file: FileOption = None,
    source: SourceOption = Source.ENVOY,
    diff: DiffOption = False,
    where: Where,
) -> None:
    """Show the clusters: service, port, subset, how endpoints are found, and the DestinationRule behind it."""
    origin = Origin(proxy_named(proxy, namespace), admin, file, source, where)
    if diff:
        return _differ(origin, ["Clusters"], fqdn, port, subset, direction)
    wanted = clusters.ClusterFilter(fqdn=fqdn, port=port, subset=subset, direction=_chosen(direction))
    selected = clusters.selected_clusters(origin.read().clusters(), wanted)
    if output is not Output.SHORT:
        return _print_resources(selected, output)
    return print_text(_cluster_table(selected))


@app.command("endpoints", hidden=True, cls=PlainCommand)
@app.command("ep", hidden=True, cls=PlainCommand)
@app.command("endpoint", cls=PlainCommand)
@asks_control_plane(beside_address=True)
def endpoint(
    proxy: ProxyName = "",
    *,
    namespace: NamespaceOption = "",
    port: PortOption = 0,
    address: EndpointAddressOption = "",
    cluster_name: ClusterOption = "",
    status: StatusOption = None,
    output: OutputOption = Output.SHORT,
    admin: AdminOption = "",
    file: FileOption = None,
    source: SourceOption = Source.ENVOY,
    diff: DiffOption = False,
    where: Where,
) -> None:
    """Show the endpoints: address, health, outlier ejection and cluster."""
    origin = Origin(proxy_named(proxy, namespace), admin, file, source, where)
    if diff:
        return _differ(origin, ["Endpoints"], port, address, cluster_name, status)
    wanted = endpoints.EndpointFilter(address=address, port=port, cluster=cluster_name, status=_chosen(status))
    selected = endpoints.selected_endpoints(origin.read(hosts=True), wanted)
    if output is not Output.SHORT:
        return _print_resources(endpoints.clusters_of(selected), output)
    return print_text(_endpoint_table(selected))


@app.command("a", hidden=True, cls=PlainCommand)
@app.command("all", cls=PlainCommand)
@asks_control_plane()
def everything(
    proxy: ProxyName = "",
    *,
    namespace: NamespaceOption = "",
    output: OutputOption = Output.SHORT,
    admin: AdminOption = "",
    file: FileOption = None,
    source: SourceOption = Source.ENVOY,
    diff: DiffOption = False,
    where: Where,
) -> None:
    """Show clusters, listeners, routes and endpoints, one after the other."""
    origin = Origin(proxy_named(proxy, namespace), admin, file, source, where)
    if diff:
        return _differ(origin, ["Clusters", "Listeners", "Routes", "Endpoints"])
    dump = origin.read()
    if output is not Output.SHORT:
        return print_value(dump.document, output.value)
    tables = [
        _cluster_table(clusters.selected_clusters(dump.clusters(), clusters.ClusterFilter()), "cluster/"),
        _listener_table(listeners.selected_listeners(dump.listeners(), listeners.ListenerFilter()), "listener/"),
        _route_table(routes.selected_routes(dump.routes()), "route/"),
        _endpoint_table(endpoints.selected_endpoints(dump, endpoints.EndpointFilter()), "endpoint/"),
    ]
    return print_text("\n\n".join(tables))
