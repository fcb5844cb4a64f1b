"""``crds``: print the CustomResourceDefinitions, or write a file for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.plain import PlainCommand

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
def crds(
    output_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write one file for each kind into this directory.")
    ] = None,
) -> None:
    """Print the CustomResourceDefinitions of all kinds, as `kubectl apply -f -` takes them."""
    from controlplane.apis.crds.files import files

    made = files()
    if output_dir is None:
        print("---\n".join(made.values()), end="")
        return
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (output_dir / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--output-dir") from error
