"""``status``: whether every proxy has what the control plane wants it to have.

Reads ``/debug/syncz``, ``/debug/rejectedz`` for objects with problems, ``/debug/feedz`` for whether what they were
read from is up to date, and ``/debug/taskz`` for what of the control plane itself does not work. Pages and keys that
only this control plane has are used where they are there; the answer of an istiod gives the table too.
"""

from __future__ import annotations

import re  # noqa: TID251 - an option of who runs it
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from controlplane.cli.age import age
from controlplane.cli.asking.answers import of_all, texts_of_all
from controlplane.cli.asking.where import Replica, Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, fail, fetch_json
from controlplane.cli.habits import proxy_named
from controlplane.cli.output import coloured, has_colours, print_aside, print_text, print_value, table
from controlplane.cli.plain import PlainCommand
from controlplane.cli.refusals import object_name, refusals
from controlplane.cli.unbuilt import unbuilt_anywhere, unbuilt_of
from controlplane.documents.nearest import nearest_text
from controlplane.printable import printable

TYPES = {
    "CDS": ("cluster", "type.googleapis.com/envoy.config.cluster.v3.Cluster"),
    "LDS": ("listener", "type.googleapis.com/envoy.config.listener.v3.Listener"),
    "EDS": ("endpoint", "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"),
    "RDS": ("route", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"),
    "ECDS": ("extensionconfig", "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"),
}
"""The columns: istiod's flat name and the type URL."""

OTHER_TYPES = {
    "VHDS": "type.googleapis.com/envoy.config.route.v3.VirtualHost",
    "SDS": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
    "NDS": "type.googleapis.com/istio.networking.nds.v1.NameTable",
    "PCDS": "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig",
}
IGNORED = "IGNORED"
SECONDS_BETWEEN = 1.0

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

Json = Mapping[str, Any]
Replicas = tuple[Replica, ...]
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Output(Enum):
    """How the answer is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"

    @classmethod
    def _missing_(cls, value: object) -> Output | None:
        return cls.TABLE if value == "short" else None  # istioctl's word


def _namespace_name(text: str) -> str:
    if text and not _NAMESPACE.fullmatch(text):
        raise ValueError(f"{text!r} is no name that a namespace can have")
    return text


@app.command(cls=PlainCommand)
@asks_control_plane()
def status(
    proxy: Annotated[
        str, typer.Argument(metavar="PROXY", help="One proxy, as NAME.NAMESPACE or NAME; all where none is given.")
    ] = "",
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", parser=_namespace_name, metavar="NAME", help="Only proxies of this namespace."
        ),
    ] = "",
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print the answer.")] = Output.TABLE,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", hidden=True)] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again each second, until Ctrl-C.")] = False,
    *,
    where: Where,
) -> None:
    """Show what each proxy was sent, has acknowledged and has refused.

    SYNCED: has acknowledged the last version. STALE: has not answered yet, or waits for its turn. ERROR: has refused
    it, and keeps its last good one. NOT SENT: asked for the type and was sent nothing yet. IGNORED: never asked for the
    type.
    In parentheses, the time since the last version was sent.

    Objects with problems follow on standard error, each with every reason; and since when the API server does not
    answer, if it does not: then this is what was read before. What of the control plane itself does not work comes
    last, with what it could not build: a proxy keeps what it has of that, and one that begins is not answered without.

    Exits with 1 if a proxy has refused something, or the control plane does not answer.
    """
    if all_namespaces and namespace:
        raise typer.BadParameter("give either -n or -A, which is so without any")
    proxy = proxy_named(proxy, "")
    if watch and output is not Output.TABLE:
        raise typer.BadParameter("--watch shows a table; leave --output away")
    try:
        with where.replicas() as replicas:
            if watch:
                _watch(replicas, proxy, namespace)
            else:
                _show(replicas, proxy, namespace, output)
    except Unanswered as error:
        fail(str(error))


def _show(replicas: Replicas, proxy: str, namespace: str, output: Output) -> None:
    proxies = _proxies(replicas, namespace, proxy)
    if output is Output.TABLE:
        print_text(_view(proxies, single=bool(proxy)))
        if not proxy and (problems := texts_of_all(replicas, lambda each: _problems(each.address, namespace))):
            print_aside(f"\n{problems}")
    else:
        print_value(proxies, output.value)
    if behind := texts_of_all(replicas, lambda each: _behind(each.address)):
        print_aside(f"\n{behind}" if output is Output.TABLE else behind)
    if failing := texts_of_all(replicas, lambda each: _failing(each.address)):
        print_aside(f"\n{failing}" if output is Output.TABLE else failing)
    if not proxy and (unbuilt := unbuilt_anywhere(proxies)):
        print_aside(f"\n{unbuilt}" if output is Output.TABLE else unbuilt)
    if any(state_of(each, name)[0] == "ERROR" for each in proxies for name in type_names(each)):
        raise typer.Exit(1)


def _watch(replicas: Replicas, proxy: str, namespace: str) -> None:
    def current() -> str:
        try:
            proxies = _proxies(replicas, namespace, proxy)
            unbuilt = "" if proxy else unbuilt_anywhere(proxies)
            behind = texts_of_all(replicas, lambda each: _behind(each.address))
            failing = texts_of_all(replicas, lambda each: _failing(each.address))
            parts = (_view(proxies, single=bool(proxy)), behind, failing, unbuilt)
            return "\n\n".join(part for part in parts if part)
        except Unanswered as error:
            return str(error)

    try:
        if has_colours():
            from rich.live import Live

            with Live(coloured(current()), auto_refresh=False) as live:
                while True:
                    time.sleep(SECONDS_BETWEEN)
                    live.update(coloured(current()), refresh=True)
        while True:
            print(printable(current(), keep="\n"), end="\n\n", flush=True)
            time.sleep(SECONDS_BETWEEN)
    except KeyboardInterrupt:
        return


def _proxies(replicas: Replicas, namespace: str, proxy: str) -> list[Json]:
    """Return the elements of ``/debug/syncz`` that were asked for, sorted by proxy.

    Raises:
        Unanswered: no answer, an answer of another shape, or one proxy was asked for and is not there.
    """
    held = [
        (replica, each)
        for replica, answer in of_all(replicas, lambda each: _synced(each.address, namespace))
        for each in answer
    ]
    of = {id(each): replica.address for replica, each in held}
    proxies = sorted(
        (each for _, each in held), key=lambda each: (each.get("proxy", ""), each.get("connection_id", ""))
    )
    if namespace:
        proxies = [each for each in proxies if _namespace(each) == namespace]
    if not proxy:
        return proxies
    for matches in (
        [each for each in proxies if proxy in {each.get("proxy"), each.get("connection_id")}],
        [each for each in proxies if each.get("proxy", "").removesuffix("." + _namespace(each)) == proxy],
    ):
        if len({each["proxy"] for each in matches}) > 1:
            several = ", ".join(sorted({each["proxy"] for each in matches}))
            raise typer.BadParameter(f"{proxy!r} may be any of {several}; name one of them")
        if matches:
            return [_whole(of[id(each)], each) for each in matches]
    raise Unanswered(_not_connected(replicas, namespace, proxy))


def _not_connected(replicas: Replicas, namespace: str, proxy: str) -> str:
    """Return that a proxy is not connected, and which may be meant: of another namespace, or of a name like it."""
    every = [
        str(each.get("proxy", ""))
        for _, found in of_all(replicas, lambda each: _synced(each.address, ""))
        for each in found
    ]
    where = f" in namespace {namespace}" if namespace else ""
    text = f"Proxy {proxy}{where} is not connected to {' or '.join(each.name for each in replicas)}"
    elsewhere = sorted({each for each in every if proxy in {each, each.rpartition(".")[0]}})
    if namespace and elsewhere:
        return f"{text}; there is {', '.join(elsewhere)}"
    return text + nearest_text(proxy, [*every, *(each.rpartition(".")[0] for each in every)])


def _synced(address: str, namespace: str) -> list[Json]:
    query = f"?namespace={quote(namespace)}" if namespace else ""
    answer = fetch_json(address, f"/debug/syncz{query}", "control plane")
    if not isinstance(answer, list | None):
        raise Unanswered(f"The control plane at {address} did not answer with a list of proxies")
    return answer or []


def _whole(address: str, proxy: Json) -> Json:
    """Return all that is known of a proxy, of which the list of all has a part; an istiod has no more to say."""
    connection_id = proxy.get("connection_id")
    if not connection_id:
        return proxy
    try:
        answer = fetch_json(address, f"/debug/syncz?proxyID={quote(connection_id)}", "control plane")
    except Unanswered:  # it has gone in the meantime
        return proxy
    return next((each for each in answer if each.get("connection_id") == connection_id), proxy)


def _behind(address: str) -> str:
    """Return a paragraph on what of the cluster is not up to date; empty where everything is, or nobody can say."""
    try:
        answer = fetch_json(address, "/debug/feedz", "control plane")
    except Unanswered:  # an istiod has no such page, and that it answers at all was just seen
        return ""
    if since := answer.get("api_server_away_since"):
        ago = age((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
        return (
            f"The API server has not answered since {since} ({ago}): proxies keep what was read before,"
            " and changes in the cluster are not seen."
        )
    stuck = [f"  {_feed_name(each)}: {each['problem']}" for each in answer.get("feeds", ()) if each.get("problem")]
    return "\n".join(["Not up to date:", *stuck]) if stuck else ""


def _failing(address: str) -> str:
    """Return a paragraph on what of the control plane itself does not work; empty where all does, or nobody can say."""
    try:
        answer = fetch_json(address, "/debug/taskz", "control plane")
    except Unanswered:  # an istiod has no such page, and that it answers at all was just seen
        return ""
    lines = [f"  {text}" for text in (answer.get("reason"), *answer.get("problems", ())) if text]
    for task in answer.get("tasks", ()):
        if task.get("problem"):
            times = "once" if task["failures"] == 1 else f"{task['failures']} times"
            lines.append(f"  {task['name']} failed {times}, last at {task['failed_at']}: {task['problem']}")
    return "\n".join(["Not working in the control plane:", *lines]) if lines else ""


def _feed_name(feed: Json) -> str:
    return f"{feed['resource']} of {feed['namespace']}" if feed.get("namespace") else str(feed["resource"])


def _problems(address: str, namespace: str) -> str:
    """Return a paragraph on the objects that are refused or do not do what they say; empty where there are none."""
    try:
        answer = fetch_json(address, "/debug/rejectedz", "control plane")
    except Unanswered:  # an istiod has no such page, and that it answers at all was just seen
        return ""
    found = [each for each in answer or [] if not namespace or each.get("namespace") in {namespace, ""}]
    if not found:
        return ""
    lines = ["1 object has problems:" if len(found) == 1 else f"{len(found)} objects have problems:"]
    for each in found:
        name, source = object_name(each) if each.get("kind") else "", each.get("source", "")
        lines.append(f"  {name} ({source})" if name and source else f"  {name or source}")
        lines.extend(f"    {problem}" for problem in each.get("problems", ()))
    return "\n".join(lines)


def _namespace(proxy: Json) -> str:
    """Return the namespace, which istiod's shape has only as the end of the id."""
    return str(proxy.get("namespace") or proxy.get("proxy", "").partition(".")[2])


def _view(proxies: list[Json], *, single: bool) -> str:
    now = datetime.now(UTC)
    if single:
        return "\n\n".join(_details(proxy, now) for proxy in proxies)
    header = ["NAME", "CLUSTER", *TYPES, "ISTIOD", "VERSION"]
    shown = table(
        header,
        (
            [
                proxy.get("proxy", ""),
                proxy.get("cluster_id", ""),
                *(_cell(proxy, name, now) for name in TYPES),
                proxy.get("control_plane", ""),
                proxy.get("istio_version", ""),
            ]
            for proxy in proxies
        ),
    )
    refused = refusals(
        (str(proxy.get("proxy", "")), name, entry)
        for proxy in proxies
        for name in type_names(proxy)
        if (entry := _entry(proxy, name)) is not None and entry.get("lastError")
    )
    return f"{shown}\n\n{refused}" if refused else shown


def _cell(proxy: Json, name: str, now: datetime) -> str:
    state, since = state_of(proxy, name)
    if since is None or state not in {"SYNCED", "STALE", "ERROR"}:
        return state
    return f"{state} ({age((now - since).total_seconds())})"


def state_of(proxy: Json, name: str) -> tuple[str, datetime | None]:
    """Return the status of a type and when it was last sent; worked out from the nonces where it is not said."""
    entry = _entry(proxy, name)
    if entry is None:
        return IGNORED, None
    sent_at = entry.get("sentTime")
    since = datetime.fromisoformat(sent_at) if sent_at else None
    if "status" in entry:
        return entry["status"], since
    if entry.get("lastError"):
        return "ERROR", since
    if not entry.get("sent"):
        return "NOT SENT", since
    return ("SYNCED" if entry.get("acked") == entry["sent"] else "STALE"), since


def _entry(proxy: Json, name: str) -> Json | None:
    """Return what is known of a type: from ``resources``, or from the flat keys of an older istiod."""
    flat, url = TYPES.get(name, ("", OTHER_TYPES.get(name, name)))
    if "resources" in proxy:
        entry: Json | None = proxy["resources"].get(url)
        return entry
    if not proxy.get(f"{flat}_sent"):
        return None
    return {"sent": proxy[f"{flat}_sent"], "acked": proxy.get(f"{flat}_acked", "")}


def type_names(proxy: Json) -> list[str]:
    """Return the columns and whatever else the proxy asked for."""
    known = {url: name for name, (_, url) in TYPES.items()} | {url: name for name, url in OTHER_TYPES.items()}
    asked = [known.get(url, url) for url in proxy.get("resources", {})]
    return [*TYPES, *(name for name in asked if name not in TYPES)]


def _details(proxy: Json, now: datetime) -> str:
    facts = [
        ("Proxy:", proxy.get("proxy", "")),
        ("Type:", proxy.get("proxy_type", "")),
        ("Cluster:", proxy.get("cluster_id", "")),
        ("Connection:", _connection(proxy, now)),
        ("Control plane:", proxy.get("control_plane", "")),
        ("Version:", proxy.get("istio_version", "")),
    ]
    lines = ["\n".join(f"{name:<16}{text}" for name, text in facts if text)]
    header = ["TYPE", "STATUS", "AGE", "VERSION", "ACKED VERSION", "SENT REVISION", "ACKED REVISION"]
    lines.append(table(header, (_detail_row(proxy, name, now) for name in type_names(proxy)), padding=3))
    lines.extend(
        _refusal(proxy, name, now) for name in type_names(proxy) if (_entry(proxy, name) or {}).get("lastError")
    )
    lines.extend(filter(None, (unbuilt_of(name, _entry(proxy, name) or {}) for name in type_names(proxy))))
    return "\n\n".join(lines)


def _connection(proxy: Json, now: datetime) -> str:
    if not proxy.get("connection_id"):
        return ""
    since = proxy.get("connected_at")
    opened = f", open for {age((now - datetime.fromisoformat(since)).total_seconds())}" if since else ""
    return f"{proxy['connection_id']} from {proxy.get('peer') or 'unknown'}{opened}"


def _detail_row(proxy: Json, name: str, now: datetime) -> list[object]:
    state, since = state_of(proxy, name)
    entry = _entry(proxy, name) or {}
    return [
        name,
        state,
        "-" if since is None else age((now - since).total_seconds()),
        entry.get("sentVersion") or "-",
        entry.get("ackedVersion") or "-",
        entry.get("sentRevision") or "-",
        entry.get("ackedRevision") or "-",
    ]


def _refusal(proxy: Json, name: str, now: datetime) -> str:
    entry = _entry(proxy, name) or {}
    rejection = entry.get("rejection") or {"message": entry["lastError"]}
    when = rejection.get("at")
    ago = f" {age((now - datetime.fromisoformat(when)).total_seconds())} ago" if when else ""
    version = f" of version {rejection['version']}" if rejection.get("version") else ""
    lines = [f"{name} refused{ago}{version}:", *(f"    {line}" for line in rejection["message"].strip().splitlines())]
    for resource in rejection.get("resources", ()):
        objects = resource.get("objects", ())
        lines.append(f"  {resource['name']} {'is made from:' if objects else '(the objects behind it are not known)'}")
        lines.extend(f"    {object_name(key)}" for key in objects)
    return "\n".join(lines)
