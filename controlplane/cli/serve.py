"""``serve``: run the control plane. The options are the fields of ``Settings``, and nothing else."""

from __future__ import annotations

import inspect
import resource
from dataclasses import fields
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from controlplane.cli.plain import PlainCommand
from controlplane.limits import Limits
from controlplane.settings import Settings
from controlplane.settings.durations import format_duration, parse_duration
from controlplane.settings.options import Option, environment_variable, flag, option

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _parameters() -> list[inspect.Parameter]:
    """Return an option for each field of ``Settings``."""
    hints = get_type_hints(Settings, include_extras=True)
    parameters = []
    inherited = {limit.name for limit in fields(Limits)}
    for setting in sorted(fields(Settings), key=lambda setting: setting.name in inherited):  # those are read last
        kind, said = get_args(hints[setting.name])
        default = _option(setting.name, setting.default, option(said), metavar="DIR" if kind == Path | None else "PORT")
        parameters.append(
            inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        )
    return parameters


def _option(name: str, default: Any, said: Option, metavar: str) -> Any:  # noqa: ANN401 - typer's
    common: dict[str, Any] = {
        "envvar": [environment_variable(name), *([said.istiod] if said.istiod else [])],
        "help": said.text,
        "rich_help_panel": said.panel,
    }
    if isinstance(default, timedelta):
        return typer.Option(format_duration(default), flag(name), parser=_duration, metavar="DURATION", **common)
    if default is None:
        return typer.Option(None, flag(name), metavar=metavar, **common)
    if isinstance(default, bool):
        return typer.Option(default, f"{flag(name)}/--no-{flag(name)[2:]}", **common)
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

    Every option is also an environment variable, CONTROLPLANE_ and its name; some have istiod's name too, which
    counts where the other is not set. Durations are written as 100ms, 1s or 2m30s.
    """
    try:
        settings = Settings(**values)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    from controlplane.wiring.app import run  # every package, and only for this command

    _open_files()
    run(settings)


def _open_files() -> None:
    """Take as many open files as are allowed, and not the 1,024 that most systems begin with: each proxy takes one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


serve.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined] # typer reads it
serve.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters()}
app.command(cls=PlainCommand)(serve)
