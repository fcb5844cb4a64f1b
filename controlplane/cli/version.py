"""``version``: of this program, of the control plane that answers, and of its proxies; JSON in istioctl's shape."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Annotated, Any

import typer

from controlplane import __version__
from controlplane.cli.asking.answers import of_all
from controlplane.cli.asking.where import Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, fail, fetch_json, fetch_text
from controlplane.cli.output import print_value
from controlplane.cli.plain import PlainCommand
from controlplane.printable import printable

_PROXY_TYPES = {"router": "gateway"}

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Output(Enum):
    """How the answer is printed."""

    SHORT = "short"
    JSON = "json"
    YAML = "yaml"


@app.command(cls=PlainCommand)
@asks_control_plane()
def version(
    *,
    remote: Annotated[bool, typer.Option("--remote/--no-remote", help="Ask the control plane too.")] = True,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print the answer.")] = Output.SHORT,
    short: Annotated[bool, typer.Option("-s", "--short", hidden=True)] = False,
    where: Where,
) -> None:
    """Show the version of this program, of the control plane and of the proxies that are connected to it.

    Exits with 1 if the control plane does not answer; --no-remote (or --remote=false) does not ask it.
    """
    found: dict[str, Any] = {"clientVersion": {"version": __version__}}
    problem = ""
    if remote:
        try:
            with where.replicas() as replicas:
                found |= _joined([answer for _, answer in of_all(replicas, lambda each: _remote(each.address))])
        except Unanswered as error:
            problem = str(error)
    if short or output is Output.SHORT:
        print(printable(_lines(found), keep="\n"))
    else:
        print_value(found, output.value)
    if problem:
        fail(problem)


def _joined(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what several replicas know as one."""
    return {name: [each for answer in answers for each in answer[name]] for name in answers[0]}


def _remote(address: str) -> dict[str, Any]:
    """Return what is known of the other two.

    Raises:
        Unanswered: no answer, or one of another shape.
    """
    server = fetch_text(address, "/version", "control plane").strip()
    proxies = fetch_json(address, "/debug/syncz", "control plane")
    if not isinstance(proxies, list | None):
        raise Unanswered(f"The control plane at {address} did not answer with a list of proxies")
    return {
        "meshVersion": [{"Component": "pilot", "Info": {"version": server}}],
        "dataPlaneVersion": [_proxy(each) for each in proxies or []],
    }


def _proxy(status: dict[str, Any]) -> dict[str, str]:
    kind = status.get("proxy_type", "")
    return {
        "ID": status.get("proxy", ""),
        "IstioVersion": status.get("istio_version", ""),
        "Type": _PROXY_TYPES.get(kind, kind),
    }


def _lines(found: dict[str, Any]) -> str:
    lines = [f"client version: {found['clientVersion']['version']}"]
    servers = dict.fromkeys(server["Info"]["version"] for server in found.get("meshVersion", ()))
    lines.extend(f"control plane version: {server}" for server in servers)
    if "dataPlaneVersion" in found:
        counts = Counter(each["IstioVersion"] or "unknown" for each in found["dataPlaneVersion"])
        proxies = (
            f"{name} ({number} {'proxy' if number == 1 else 'proxies'})" for name, number in sorted(counts.items())
        )
        lines.append(f"data plane version: {', '.join(proxies) or 'none'}")
    return "\n".join(lines)
