"""The page of commands: what each says of itself, asked for as its users do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

from controlplane.cli.group import app
from controlplane.cli.main import ALIASES, COMMANDS

PAGES = {
    "agent": "../agent.md",
    "analyze": "../analysis.md",
    "dashboard": "../page.md",
    "describe": "../describe.md",
    "explain": "../explain.md",
    "install": "../install.md",
    "kube-inject": "../injection.md",
    "plan": "../plan.md",
    "serve": "settings.md",
    "test": "../routing-tests.md",
    "workload": "../machines.md",
}
"""Where there is more about a command."""
_HEAD = """\
# Commands

What each command says with `--help`. Those that ask a control plane [find it](../finding-it.md) by the same options.
`controlplane x COMMAND` and `controlplane experimental COMMAND` are the same command, as istioctl's users type it.
"""


def commands_page() -> str:
    """Return the page: a part for each command, with its own commands in it."""
    os.environ["COLUMNS"] = "100"
    root: Any = typer.main.get_command(app)
    return _HEAD + "".join(_part(root, name) for name in COMMANDS)


def _part(root: Any, name: str) -> str:  # noqa: ANN401 - typer's own
    other = [alias for alias, meant in ALIASES.items() if meant == name]
    lines = [f"\n## {name}\n"]
    if other:
        lines.append(f"\nAlso: {', '.join(f'`{alias}`' for alias in other)}.\n")
    if page := PAGES.get(name):
        lines.append(f"\nMore: [{page}]({page}).\n")
    if name in {"agent", "serve"}:  # their options have pages of their own
        lines.append(f"\n{COMMANDS[name][1]} `controlplane {name} --help` lists its options.\n")
        return "".join(lines)
    lines += [f"\n```text\n{_help(path)}```\n" for path in _paths(root.get_command(None, name), (name,))]
    return "".join(lines)


def _paths(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - typer's own
    """Yield a command, and the commands that it has."""
    yield path
    for name, each in sorted(getattr(command, "commands", {}).items()):
        if not each.hidden:
            yield from _paths(each, (*path, name))


def _help(path: tuple[str, ...]) -> str:
    done = CliRunner().invoke(app, [*path, "--help"], prog_name="controlplane", env={"COLUMNS": "100"})
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
