"""``admin``: changes of a control plane that runs. There is one: what it logs."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from controlplane.cli.asking.answers import of_all
from controlplane.cli.asking.where import Replica, Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, Wrong, fail, fetch_json, put_json
from controlplane.cli.output import print_text, table
from controlplane.cli.plain import PlainCommand, PlainGroup

app = typer.Typer(
    cls=PlainGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Change a control plane while it runs.",
)
_PAGE = "/debug/scopej"
_EVERY = "all"


@app.callback()
def admin() -> None:
    """Change a control plane while it runs."""


@app.command("l", hidden=True, cls=PlainCommand)
@app.command("log", cls=PlainCommand)
@asks_control_plane()
def log(
    pod: Annotated[
        str, typer.Argument(metavar="POD", help="One replica, by the beginning of its name; all where none is given.")
    ] = "",
    level: Annotated[
        list[str] | None,
        typer.Option("--level", metavar="[SCOPE:]LEVEL", help="ads:debug,registry:warning, or debug for all scopes."),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Set all scopes to info.")] = False,
    *,
    where: Where,
) -> None:
    """Show the least severe events that a control plane logs, by scope, or set them with --level.

    Scopes are the first parts of the names of events (ads of ads.nack). Levels: debug, info, warning, error. What is
    set holds until the process ends; --log-level of serve is what it begins with.

    Exit codes: 0 done, 2 there is no such scope or level, 1 anything else.
    """
    wanted = [pair for text in (level or []) for pair in _pairs(text)]
    if reset:
        wanted = [(_EVERY, "info"), *wanted]
    try:
        with where.replicas() as replicas:
            chosen = tuple(each for each in replicas if not pod or each.name.startswith(pod))
            if not chosen:
                fail(f"no replica is called {pod}; there are {', '.join(each.name for each in replicas)}")
            held = of_all(chosen, lambda each: _set(each, wanted))
    except Wrong as error:
        raise typer.BadParameter(str(error), param_hint="--level") from error
    except Unanswered as error:
        fail(str(error))
    for replica, scopes in held:
        rows = [[each["name"], each["output_level"]] for each in scopes]
        print_text(f"{replica.name}:\n{table(['SCOPE', 'LEVEL'], rows)}")


def _pairs(text: str) -> list[tuple[str, str]]:
    """Read ``scope:level,scope:level``; a level alone is for all scopes."""
    pairs = [each.strip().rpartition(":") for each in text.split(",") if each.strip()]
    if not pairs:
        raise typer.BadParameter("give SCOPE:LEVEL or LEVEL", param_hint="--level")
    return [(scope or _EVERY, level) for scope, _, level in pairs]


def _set(replica: Replica, wanted: list[tuple[str, str]]) -> Any:  # noqa: ANN401 - JSON
    for scope, level in wanted:
        put_json(replica.address, f"{_PAGE}/{quote(scope, safe='')}", {"output_level": level}, "control plane")
    return fetch_json(replica.address, _PAGE, "control plane")
