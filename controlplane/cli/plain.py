"""Typer's commands with what slows their start taken out.

Two things are replaced. Help is plain text, with a section for each ``rich_help_panel``, so rich is not loaded. And
newer versions of typer check every value with pydantic, which takes longer to load than a whole command may run: the
few types that our options have are read here. Older versions of typer do not ask for this and are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_TRUE = {"1", "true", "t", "yes", "y", "on"}
_FALSE = {"0", "false", "f", "no", "n", "off"}


class Reading:
    """Reads the values of one option or argument from text."""

    def __init__(self, annotation: Any, information: Any) -> None:  # noqa: ANN401 - typer's own
        self._annotation = annotation
        self._information = information

    @staticmethod
    def can_read(annotation: Any, information: Any) -> bool:  # noqa: ANN401 - typer's own
        """Whether values of this type are read here."""
        if information.parser is not None:
            return True
        return isinstance(annotation, type) and issubclass(annotation, (str, int, float, bool, Enum, Path))

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401 - typer's own
        """Return the value of a text; one that already has the type stays as it is.

        Raises:
            typer.BadParameter: the text is no such value.
        """
        if value is None:
            return None
        try:
            return self._read(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error

    def _read(self, value: Any) -> Any:  # noqa: ANN401 - typer's own
        parser: Callable[[str], Any] | None = self._information.parser
        if parser is not None:
            return parser(value)
        kind: type = self._annotation
        if issubclass(kind, Enum):
            return _choice(kind, value)
        if isinstance(value, kind):
            return value
        if kind is bool:
            return _boolean(str(value))
        if issubclass(kind, (int, float)):
            return self._number(kind, str(value))
        if issubclass(kind, Path) and not value:
            raise ValueError("a path must not be empty")  # pathlib takes it for the working directory
        return self._annotation(value)

    def _number(self, kind: type[int | float], text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            raise ValueError(f"{text!r} is not {'a whole number' if kind is int else 'a number'}") from None
        low, high = self._information.min, self._information.max
        if (low is not None and number < low) or (high is not None and number > high):
            raise ValueError(f"{text} is not in the range from {low} to {high}")
        return number


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _choice(kind: type[Enum], value: Any) -> Enum:  # noqa: ANN401 - a member or its text
    if isinstance(value, kind):
        return value
    for member in kind:
        if str(member.value).lower() == str(value).lower():
            return member
    try:
        return kind(value)  # another word that the type knows
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise ValueError(f"{value!r} is none of {known}") from None


def _name_variables(parameter: Any) -> None:  # noqa: ANN401 - typer's own
    """Have errors name the environment variables of an option; typer writes their list as Python does."""
    variables = getattr(parameter, "envvar", None)
    if isinstance(variables, list):
        names, said = (", ".join(f"'{name}'" for name in each) for each in (parameter.opts, variables))
        parameter.get_error_hint = lambda *_, hint=f"{names} (env var: {said})": hint


def _read_plainly(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        _name_variables(parameter)
        descriptor = getattr(parameter, "type_descriptor", None)
        if descriptor is None or not hasattr(parameter, "get_runtime_param"):
            continue  # a version of typer without pydantic
        if Reading.can_read(descriptor.annotation, descriptor.parameter_info):
            reading = Reading(descriptor.annotation, descriptor.parameter_info)
            parameter.get_runtime_param = lambda reading=reading: reading
    return parameters


def _switches(parameters: list[Any], arguments: list[str]) -> list[str]:
    """Return the arguments with ``--flag=false``, as Go's programs take it, in the way of ours: ``--no-flag``.

    Raises:
        ValueError: the value of a flag is neither true nor false.
    """
    ways = {
        (name, switch): side[0]
        for parameter in parameters
        if getattr(parameter, "is_flag", False) and parameter.opts and parameter.secondary_opts
        for name in parameter.opts
        for switch, side in ((True, parameter.opts), (False, parameter.secondary_opts))
    }
    read = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        read.append(ways[name, _boolean(value)] if equals and (name, True) in ways else argument)
    return read


class PlainCommand(TyperCommand):
    """A command that starts fast and whose help is plain text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own context
        """Read the arguments, flags with values too.

        Raises:
            typer.BadParameter: a value is none that its option has.
        """
        try:
            return super().parse_args(ctx, _switches(self.get_params(ctx), args))
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx) from error

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own context
        """Return the parameters, made to be read here."""
        return _read_plainly(super().get_params(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own
        """Write one section for each panel, in the order of the options."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or default, []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


class PlainGroup(TyperGroup):
    """A group that starts fast and whose help is plain text; it knows where other programs' commands are."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own context
        """Find the command that is meant; of one that other programs have it is told where that is."""
        if args and self.get_command(ctx, args[0]) is None:
            from controlplane.cli.habits import elsewhere

            if said := elsewhere(self.name or ctx.command_path, args[0]):
                ctx.fail(said)
        return super().resolve_command(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own context
        """Return the parameters, made to be read here."""
        return _read_plainly(super().get_params(ctx))
