"""The group of all subcommands, each imported when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer

from controlplane.cli.main import ALIASES, COMMANDS, HELP_FLAGS, overview
from controlplane.cli.plain import PlainGroup


class LazyGroup(PlainGroup):
    """A group whose commands are imported when they are called; the overview needs none of them."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - handed through to typer
        super().__init__(**attributes)
        names: dict[str, Any] = dict.fromkeys(COMMANDS)  # typer suggests one for a name that is misspelt
        self.commands = names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - typer's own
        """Import and return one command, ``None`` where there is no such command."""
        del ctx
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(COMMANDS[name][0]).app)
        command.name = name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own
        """Write the overview."""
        del ctx
        formatter.write(overview())


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP_FLAGS)},
)


@app.callback()
def controlplane() -> None:
    """Do nothing before the subcommand: a group of typer's needs a function."""
