"""``serve``: run the control plane. The options are the fields of ``Settings``, and nothing else."""

from __future__ import annotations

import inspect
from dataclasses import fields
from datetime import timedelta
from enum import Enum
from typing import Any, get_args, get_type_hints

import typer

from controlplane.cli.plain import PlainCommand
from controlplane.settings import Option, Settings, environment_variable, flag, format_duration, parse_duration

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _parameters() -> list[inspect.Parameter]:
    """Return an option for each field of ``Settings``."""
    hints = get_type_hints(Settings, include_extras=True)
    parameters = []
    for setting in fields(Settings):
        kind, option = get_args(hints[setting.name])
        default = _option(setting.name, setting.default, option, metavar="INTEGER" if kind == int | None else "DIR")
        parameters.append(
            inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        )
    return parameters


def _option(name: str, default: Any, option: Option, *, metavar: str) -> Any:  # noqa: ANN401 - typer's
    common: dict[str, Any] = {
        "envvar": environment_variable(name),
        "help": option.text,
        "rich_help_panel": option.panel,
    }
    if isinstance(default, timedelta):
        return typer.Option(format_duration(default), flag(name), parser=_duration, metavar="DURATION", **common)
    if default is None:
        return typer.Option(None, flag(name), metavar=metavar, **common)
    if isinstance(default, Enum):
        return typer.Option(default.value, flag(name), case_sensitive=False, **common)
    return typer.Option(default, flag(name), show_default=default not in ("", 0.0), **common)


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def serve(**values: Any) -> None:  # noqa: ANN401 - the fields of Settings
    """Run the control plane until it is told to stop (SIGTERM or Ctrl-C).

    Every option is also an environment variable, CONTROLPLANE_ and its name. Durations are written as 100ms, 1s or
    2m30s.
    """
    try:
        settings = Settings(**values)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    from controlplane.app import run  # every package, and only for this command

    run(settings)


serve.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined] # typer reads it
serve.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters()}
app.command(cls=PlainCommand)(serve)
