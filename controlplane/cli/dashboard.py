"""``dashboard``: opens the page of a control plane in the browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from controlplane.cli.fetch import CONTROL_PLANE, ControlPlaneOption, Unanswered, fail, fetch_text, split_address
from controlplane.cli.output import print_aside
from controlplane.cli.plain import PlainCommand

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
def dashboard(
    *,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it; else its address is printed.")
    ] = True,
    address: ControlPlaneOption = CONTROL_PLANE,
) -> None:
    """Open the page of a control plane, and print its address.

    The page answers callers on loopback: for a cluster, use kubectl port-forward. Exits with 1 if it does not answer.
    """
    split_address(address)
    try:
        fetch_text(address, "/ui/static/icon.svg", "control plane")
    except Unanswered as error:
        fail(str(error))
    url = f"http://{address}/ui"
    print(url)
    if browser and not webbrowser.open(url):
        print_aside("No browser could be opened here: open the address yourself.")
