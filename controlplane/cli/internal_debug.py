"""``internal-debug``: the debug pages of all replicas, as istioctl's ``x internal-debug`` shows istiod's."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from controlplane.cli.asking.answers import of_all
from controlplane.cli.asking.where import Replica, Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, Wrong, fail, fetch_json
from controlplane.cli.output import print_value
from controlplane.cli.plain import PlainCommand

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
_LIST = "list"


@app.command(cls=PlainCommand)
@asks_control_plane()
def internal_debug(
    page: Annotated[
        str, typer.Argument(metavar="PAGE", help="syncz, or syncz?proxyID=web-1.shop; the names of all without.")
    ] = _LIST,
    listed: Annotated[
        bool, typer.Option("-L", "--list", help="Print the names of all pages, as without PAGE.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Ask all replicas, which is done in any case.")] = False,  # noqa: ARG001 - istioctl's
    *,
    where: Where,
) -> None:
    """Print a debug page as JSON; of several replicas each with its name.

    Exit codes: 0 printed, 2 there is no such page, 1 nobody answers.
    """
    name = _LIST if listed else page.removeprefix("/").removeprefix("debug/")
    try:
        with where.replicas() as replicas:
            known = {str(each) for _, held in of_all(replicas, lambda each: _page(each, _LIST)) for each in held}
            if name.partition("?")[0] not in {*known, _LIST}:
                raise typer.BadParameter(f"there is no page {name}; there are {', '.join(sorted(known))}")
            found = of_all(replicas, lambda each: _page(each, name))
    except Wrong as error:
        raise typer.BadParameter(str(error)) from error
    except Unanswered as error:
        fail(str(error))
    answers = {replica.name: answer for replica, answer in found}
    print_value(answers if len(answers) > 1 else found[0][1], "json")


def _page(replica: Replica, name: str) -> Any:  # noqa: ANN401 - JSON
    return fetch_json(replica.address, f"/debug/{name}", "control plane")
