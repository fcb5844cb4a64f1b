"""``wait``: until an object has reached the proxies, or is gone from the control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode

import typer

from controlplane.apis.kind_names import kind_names
from controlplane.apis.kinds import KINDS
from controlplane.cli.asking.answers import of_all
from controlplane.cli.asking.where import Replica, Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, fail, fetch_json
from controlplane.cli.kubeconfig import usual_kubeconfig
from controlplane.cli.output import print_aside
from controlplane.cli.plain import PlainCommand
from controlplane.cli.status import state_of, type_names
from controlplane.documents.json_reader import json_value
from controlplane.documents.nearest import nearest_text
from controlplane.settings.durations import parse_duration

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

REFUSED = 3
"""Exit code: the control plane or a proxy refuses it, so there is nothing to wait for."""
_PAUSE_SECONDS = 0.5
_MOST_ROWS = 500
"""Objects whose names have the name in them; the API gives no more at once."""
_WHOLE = 1.0


class What(StrEnum):
    """What is waited for."""

    DISTRIBUTION = "distribution"
    DELETE = "delete"


class Named(NamedTuple):
    """An object of Istio's kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """Return how people write it."""
        return f"{self.kind} {self.namespace}/{self.name}"


class Standing(NamedTuple):
    """How far it is: ``done``, ``refused`` with the reason, or ``absent`` at a replica; ``line`` says it."""

    done: bool
    line: str
    refused: str = ""
    absent: bool = False


@app.command(cls=PlainCommand)
@asks_control_plane()
def wait(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="virtualservice, vs, ...; or KIND/NAMESPACE/NAME alone.")],
    name: Annotated[str, typer.Argument(metavar="NAME[.NAMESPACE]")] = "",
    what: Annotated[What, typer.Option("--for", help="That all proxies have it, or that it is gone.")] = (
        What.DISTRIBUTION
    ),
    namespace: Annotated[str, typer.Option("-n", "--namespace", metavar="NAME", help="Its namespace.")] = "default",
    generation: Annotated[
        int,
        typer.Option("--generation", min=0, help="At least this one; without, the cluster is asked for the newest."),
    ] = 0,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, max=1.0, help="The share of proxies that must have it.")
    ] = _WHOLE,
    proxy: Annotated[str, typer.Option("--proxy", metavar="PROXY", help="NAME.NAMESPACE: this one alone counts.")] = "",
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="Give up after 30s, 2m, 500ms.")] = "30s",
    *,
    where: Where,
) -> None:
    """Wait until an object is in force and all proxies have acknowledged what they were sent, or until it is gone.

    All replicas are asked, twice a second. A proxy that does not ask for a type does not count for it.

    Exit codes: 0 it is so, 3 it is refused by the control plane or by a proxy, 2 wrong usage, 1 it was not so in time,
    or nobody answers.
    """
    wanted, end = _object(kind, name, namespace), time.monotonic() + _seconds(timeout)
    told, taken = "", dict[str, int]()
    try:
        least = generation or (_newest(where, wanted) if what is What.DISTRIBUTION else 0)
        with where.replicas() as replicas:
            while True:
                standing = (
                    _gone(replicas, wanted)
                    if what is What.DELETE
                    else _distributed(replicas, wanted, least, proxy, threshold, taken)
                )
                if standing.refused:
                    print_aside(f"Error: {standing.refused}")
                    raise typer.Exit(REFUSED)
                if standing.done:
                    print(standing.line)
                    return
                if time.monotonic() >= end:
                    fail(f"not within {timeout}: {standing.line}{_near(replicas, wanted) if standing.absent else ''}")
                if standing.line != told:
                    print_aside(standing.line)
                    told = standing.line
                time.sleep(min(_PAUSE_SECONDS, max(end - time.monotonic(), 0.0)))
    except Unanswered as error:
        fail(str(error))


def _gone(replicas: Sequence[Replica], wanted: Named) -> Standing:
    held = [replica.name for replica, rows in _rows(replicas, wanted) if rows]
    return Standing(not held, f"{wanted} is still in force at {', '.join(held)}" if held else f"{wanted} is gone")


def _distributed(
    replicas: Sequence[Replica],
    wanted: Named,
    generation: int,
    proxy: str,
    threshold: float,
    taken: dict[str, int],
) -> Standing:
    """Return how far it is; ``taken`` is for the next call: the revision in which a replica was seen to have it."""
    refused = ""
    absent = False
    late = []
    for replica, rows in _rows(replicas, wanted):
        row = next(iter(rows), None)
        if row is not None and row["refused"]:
            refused = refused or f"{wanted} is refused: {row['refused']}"
        absent = absent or row is None
        if row is None or not row["inForce"] or row["generation"] < generation:
            late.append(replica.name)
    if refused or late:
        of = f" generation {generation} of" if generation else ""
        return Standing(False, f"{', '.join(late)} does not have{of} {wanted} yet", refused, absent)
    busy = [replica.name for replica, settled in of_all(replicas, lambda each: _is_settled(each, taken)) if not settled]
    if busy:
        return Standing(False, f"{', '.join(busy)} still works out what {wanted} means for the proxies")
    every = [each for _, held in of_all(replicas, _proxies) for each in held if proxy in {"", each.get("proxy")}]
    if proxy and not every:
        names = (str(each.get("proxy")) for _, held in of_all(replicas, _proxies) for each in held)
        return Standing(False, f"{proxy} is not connected{nearest_text(proxy, names)}")
    states = [{state_of(each, name)[0] for name in type_names(each)} for each in every]
    bad = [str(each.get("proxy")) for each, held in zip(every, states, strict=True) if "ERROR" in held]
    if bad:
        return Standing(
            False, "", f"{', '.join(sorted(set(bad)))} refuses what it was sent; `controlplane status` says why"
        )
    have = sum(held.isdisjoint({"STALE", "NOT SENT"}) for held in states)
    line = f"{wanted}: {have} of {len(every)} proxies have it"
    return Standing(have >= threshold * len(every), line)


def _rows(replicas: Sequence[Replica], wanted: Named) -> list[tuple[Replica, list[Any]]]:
    """Return what each replica knows of an object: one row with why its newest version is refused, or none."""
    path = f"/api/v1/objects?{urlencode({**wanted._asdict(), 'limit': _MOST_ROWS})}"

    def row(replica: Replica) -> list[Any]:
        items = fetch_json(replica.address, path, "control plane")["items"]
        found = [each for each in items if each["object"]["name"] == wanted.name]
        for each in found:
            each["refused"] = _refusal(replica, wanted) if each["problems"] else ""
        return found

    return of_all(replicas, row)


def _near(replicas: Sequence[Replica], wanted: Named) -> str:
    """Return for the end of a sentence which objects may be meant by one that is not there."""
    path = f"/api/v1/objects?{urlencode({'kind': wanted.kind, 'namespace': wanted.namespace, 'limit': _MOST_ROWS})}"
    held = of_all(replicas, lambda replica: fetch_json(replica.address, path, "control plane")["items"])
    return nearest_text(wanted.name, (each["object"]["name"] for _, items in held for each in items))


def _refusal(replica: Replica, wanted: Named) -> str:
    path = "/api/v1/objects/" + "/".join(wanted)
    problems = fetch_json(replica.address, path, "control plane")["problems"]
    return "; ".join(each["reason"] for each in problems if each["sort"] == "refused")


def _is_settled(replica: Replica, taken: dict[str, int]) -> bool:
    """Whether the proxies of a replica are known to be behind, or not, in what it has taken by now."""
    overview = fetch_json(replica.address, "/api/v1/overview", "control plane")
    revision = min(
        taken.get(replica.name, overview["revision"]), overview["revision"]
    )  # it counts anew after a restart
    taken[replica.name] = revision
    return bool(overview.get("settledRevision", revision) >= revision)


def _proxies(replica: Replica) -> list[Any]:
    found: list[Any] = fetch_json(replica.address, "/debug/syncz", "control plane")
    return found


def _newest(where: Where, wanted: Named) -> int:
    """Return the generation of an object in the cluster; 0 where the control plane is that of no cluster."""
    return asyncio.run(_generation(where, wanted)) if where.is_a_cluster else 0


async def _generation(where: Where, wanted: Named) -> int:
    from controlplane.watchers.kubernetes.api import JSON, connect
    from controlplane.watchers.kubernetes.errors import ConfigurationError, RefusedError, UnreachableError
    from controlplane.watchers.kubernetes.timing import Timing

    kind = KINDS[wanted.kind]
    path = f"/apis/{kind.group}/{kind.versions[0]}/namespaces/{wanted.namespace}/{kind.plural}/{wanted.name}"
    try:
        api = await connect(where.kubeconfig or usual_kubeconfig(where.context), where.context, Timing())
        try:
            return int(json_value(await api.get(path, {}, JSON))["metadata"].get("generation") or 0)
        finally:
            await api.close()
    except (ConfigurationError, UnreachableError, RefusedError) as error:
        raise Unanswered(f"The cluster cannot be asked for {wanted}: {error}") from error


def _object(kind: str, name: str, namespace: str) -> Named:
    stated, _, rest = kind.partition("/")
    found = kind_names().get(stated.lower())
    if found is None:
        raise typer.BadParameter(f"Istio has no kind {stated}{nearest_text(stated, sorted(KINDS))}", param_hint="KIND")
    if rest and not name:
        before, slash, after = rest.partition("/")
        wanted = Named(found, before if slash else namespace, after if slash else before)
    else:
        short, dot, of = name.partition(".")
        wanted = Named(found, of if dot else namespace, short)
    if (rest and name) or not all(wanted) or "/" in wanted.name + wanted.namespace:
        raise typer.BadParameter("give KIND and NAME[.NAMESPACE], or KIND/NAMESPACE/NAME", param_hint="NAME")
    return wanted


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from error
