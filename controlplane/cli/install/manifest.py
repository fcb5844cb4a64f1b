"""``manifest generate``: what an installation would apply, as YAML."""

from __future__ import annotations

import sys

import typer

from controlplane.cli.install.options import (
    FilesOption,
    ForceOption,
    ManifestsOption,
    RevisionOption,
    SetOption,
    refuse,
    stated,
)
from controlplane.cli.plain import PlainCommand, PlainGroup

app = typer.Typer(
    cls=PlainGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Print what an installation consists of.",
)


@app.callback()
def manifest() -> None:
    """Do nothing before the subcommand: a group of typer's needs a function."""


@app.command(cls=PlainCommand)
def generate(
    filename: FilesOption = [],  # noqa: B006 - typer makes a new one
    set_: SetOption = [],  # noqa: B006 - as above
    revision: RevisionOption = "",
    force: ForceOption = False,
    manifests: ManifestsOption = "",
) -> None:
    """Print what `install` would apply, in its order, for `kubectl apply --server-side -f -`.

    Exit codes: 0 done, 1 it cannot be, 2 wrong usage.
    """
    from controlplane.documents.yaml_writer import readable_yaml
    from controlplane.install.errors import RefusedInputError
    from controlplane.install.plan import plan

    wanted = stated(filename, set_, revision, force=force, manifests=manifests)
    try:
        components = plan(wanted)
    except RefusedInputError as error:
        refuse(error)
    objects = (each for component in components for each in component.objects)
    sys.stdout.write("---\n".join(readable_yaml(each) for each in objects))
