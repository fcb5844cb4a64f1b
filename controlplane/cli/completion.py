"""``completion``: scripts that complete commands, options and their values in a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from importlib import import_module
from typing import Annotated, Any

import typer

from controlplane.cli.plain import PlainCommand

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Shell(StrEnum):
    """Shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command(cls=PlainCommand)
def completion(shell: Annotated[Shell, typer.Argument(help="The shell that the script is for.")]) -> None:
    """Print a script that completes commands, options and their values; other arguments are file names.

    bash: source <(controlplane completion bash)

    zsh: source <(controlplane completion zsh)

    fish: controlplane completion fish | source
    """
    commands = list(_commands())
    print(_fish(commands) if shell is Shell.FISH else _bash(commands, is_zsh=shell is Shell.ZSH), end="")


@dataclass(frozen=True, slots=True)
class Word:
    """An option: its names, its help, whether it has a value, and which these are where they are known."""

    names: tuple[str, ...]
    about: str
    has_value: bool
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command by its words (``proxy-config cluster``), its help, its options and what may follow it."""

    way: tuple[str, ...]
    about: str
    options: tuple[Word, ...]
    following: tuple[str, ...]


def _commands() -> Iterator[Command]:
    """Yield every command, those of groups after their group."""
    from controlplane.cli.main import COMMANDS

    for name, (module, about) in COMMANDS.items():
        made = getattr(import_module(module), "app", None)
        if made is None:  # it reads its own arguments
            yield Command((name,), about, (), ())
        else:
            yield from _below((name,), typer.main.get_command(made), about)


def _below(way: tuple[str, ...], command: Any, about: str) -> Iterator[Command]:  # noqa: ANN401 - typer's own
    inner = {name: each for name, each in getattr(command, "commands", {}).items() if not each.hidden}
    context = command.make_context(way[-1], [], resilient_parsing=True)
    arguments = (each for each in command.get_params(context) if each.param_type_name == "argument")
    following = (*inner, *(value for each in arguments for value in _values(each)))
    yield Command(way, about, tuple(_options(command, context)), following)
    for name, each in inner.items():
        yield from _below((*way, name), each, each.get_short_help_str(limit=200))


def _options(command: Any, context: Any) -> Iterator[Word]:  # noqa: ANN401 - typer's own
    for each in command.get_params(context):
        if each.param_type_name == "option" and not each.hidden:
            names = tuple(sorted(name.strip() for name in (*each.opts, *each.secondary_opts) if name.strip()))
            yield Word(names, each.help or "", not (each.is_flag or each.count), tuple(_values(each)))


def _values(parameter: Any) -> list[str]:  # noqa: ANN401 - typer's own
    """Return the values that a parameter may have, where they are a list of words."""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return list(getattr(getattr(parameter, "type", None), "choices", ()))


_BASH = """\
_controlplane() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} way="" each
    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$way $each" in
@WAYS@        esac
    done
    local words=""
    case "$way:$before" in
@VALUES@    *)
        case "$way" in
@WORDS@        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _controlplane controlplane
"""


def _bash(commands: list[Command], *, is_zsh: bool) -> str:
    """Return a script for bash; zsh runs the same with its own emulation."""
    ways, values, words = [], [], []
    top = " ".join(each.way[0] for each in commands if len(each.way) == 1)
    for each in commands:
        way = "".join(f" {part}" for part in each.way)
        ways.append(f"            {_pattern(way)}) way={shlex.quote(way)} ;;\n")
        for option in each.options:
            if option.has_value:
                patterns = "|".join(_pattern(f"{way}:{name}") for name in option.names)
                values.append(f"    {patterns}) words={shlex.quote(' '.join(option.values))} ;;\n")
        names = [*each.following, *(name for option in each.options for name in option.names)]
        words.append(f"            {_pattern(way)}) words={shlex.quote(' '.join(names))} ;;\n")
    words.append(f"            *) words={shlex.quote(top)} ;;\n")
    script = (
        _BASH.replace("@WAYS@", "".join(ways)).replace("@VALUES@", "".join(values)).replace("@WORDS@", "".join(words))
    )
    return f"autoload -U +X compinit bashcompinit && compinit && bashcompinit\n{script}" if is_zsh else script


def _pattern(text: str) -> str:
    return f'"{text}"'


def _fish(commands: list[Command]) -> str:
    """Return a script for fish."""
    lines = []
    for each in commands:
        inside = " and ".join(f"__fish_seen_subcommand_from {part}" for part in each.way)
        around = " and ".join(f"__fish_seen_subcommand_from {part}" for part in each.way[:-1])
        missing = f"not __fish_seen_subcommand_from {each.way[-1]}"
        condition = f"{around} and {missing}" if around else "__fish_use_subcommand"
        about = f"-d {shlex.quote(each.about)}"
        lines.append(f"complete -c controlplane -n {shlex.quote(condition)} -f -a {each.way[-1]} {about}")
        lines += [
            " ".join(
                [
                    f"complete -c controlplane -n {shlex.quote(inside)}",
                    *(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names),
                    *(["-r"] if option.has_value else []),
                    *([f"-f -a {shlex.quote(' '.join(option.values))}"] if option.values else []),
                    f"-d {shlex.quote(option.about)}",
                ]
            )
            for option in each.options
        ]
    return "\n".join(lines) + "\n"
