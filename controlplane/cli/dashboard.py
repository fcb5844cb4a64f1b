"""``dashboard``: opens the page of a control plane in the browser."""

from __future__ import annotations

import threading
import webbrowser
from contextlib import suppress
from typing import Annotated

import typer

from controlplane.cli.asking.where import Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, fail, fetch_text
from controlplane.cli.habits import elsewhere
from controlplane.cli.output import print_aside
from controlplane.cli.plain import PlainCommand

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
@asks_control_plane()
def dashboard(
    what: Annotated[str, typer.Argument(metavar="NAME", hidden=True)] = "",
    *,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it; else its address is printed.")
    ] = True,
    where: Where,
) -> None:
    """Open the page of a control plane, and print its address.

    Of several replicas the first one that is found is shown. In a cluster its port is forwarded to this machine until
    Ctrl-C. Exits with 1 if it does not answer.
    """
    if what not in {"", "controlplane", "istiod"}:
        raise typer.BadParameter(
            elsewhere("dashboard", what) or f"only the control plane's own page is opened, no {what!r}"
        )
    try:
        with where.replicas() as replicas:
            shown = replicas[0]
            fetch_text(shown.address, "/ui/static/icon.svg", "control plane")
            url = f"http://{shown.address}/ui"
            print(url, flush=True)
            if browser and not webbrowser.open(url):
                print_aside("No browser could be opened here: open the address yourself.")
            if shown.forwarded:
                print_aside(f"It leads to {shown.name} until Ctrl-C.")
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()
    except Unanswered as error:
        fail(str(error))
