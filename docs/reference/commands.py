"""The pages of commands: what each says of itself, asked for as its users do, and what it prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
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
    "serve": "../reference/settings.md",
    "test": "../routing-tests.md",
    "workload": "../machines.md",
}
"""Where there is more about a command."""
LIVE = Path(__file__).parent / "live.txt"
"""Commands beside a control plane that runs, and what they print; ``tests/docs/test_live.py`` runs them."""
ALONE = Path(__file__).parent / "alone.txt"
"""Commands that need nothing beside them, likewise; ``tests/docs/test_alone.py`` runs them in ``docs/examples``."""
CLUSTER = Path(__file__).parent / "cluster.txt"
"""Commands that ask an API server, likewise; ``tests/kubernetes/test_documented_commands.py`` runs them."""
_HEAD = """\
# Commands

A page for each: what it says with `--help`, and what it prints. Those that ask a control plane
[find it](../finding-it.md) by the same options. `controlplane x COMMAND` and `controlplane experimental COMMAND` are
the same command, as istioctl's users type it.

| command | does | also |
|---|---|---|
"""
_BESIDE = """\
## Beside a control plane

That runs on `docs/examples/bookshop`, with one proxy.
"""


_IN_A_CLUSTER = """\
## In a cluster

Where `controlplane install -y --set profile=minimal` was typed a moment ago, so that nothing is ready yet, with a
Deployment `web` in the namespace `shop`, which is labelled `istio.io/rev=prod`.
"""


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the commands in the examples of a page, each with what it prints."""
    found: list[tuple[str, str]] = []
    within = False
    for line in text.splitlines():
        if line.startswith("```"):
            within = line == "```console"
        elif within and line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        elif within and found:
            found[-1] = found[-1][0], f"{found[-1][1]}{line}\n"
    return found


def commands_page() -> str:
    """Return the page that leads to the others."""
    rows = (
        f"| [{name}](commands/{name}.md) | {text} | {', '.join(f'`{alias}`' for alias in _aliases(name))} |\n"
        for name, (_, text) in COMMANDS.items()
    )
    return _HEAD + "".join(rows)


def command_pages() -> dict[str, Callable[[], str]]:
    """Return what makes the page of each command, by its file."""
    return {f"commands/{name}.md": partial(_page, name) for name in COMMANDS}


def _aliases(name: str) -> list[str]:
    return [alias for alias, meant in ALIASES.items() if meant == name]


def _page(name: str) -> str:
    os.environ["COLUMNS"] = "100"
    root: Any = typer.main.get_command(app)
    lines = [f"# {name}\n\n{COMMANDS[name][1]}\n"]
    if other := _aliases(name):
        lines.append(f"\nAlso: {', '.join(f'`{alias}`' for alias in other)}.\n")
    if page := PAGES.get(name):
        lines.append(f"\nMore: [{page}](../{page}).\n")
    if name in {"agent", "serve"}:  # their options have pages of their own
        lines.append(f"\n`controlplane {name} --help` lists its options.\n")
    else:
        lines += [f"\n```text\n{_help(path)}```\n" for path in _paths(root.get_command(None, name), (name,))]
    return "".join([*lines, *_examples(name)])


def _examples(name: str) -> Iterator[str]:
    """Yield what the command prints: of the examples of all pages, which tests run, and beside a control plane."""
    documents = sorted(Path(__file__).parents[1].glob("*.md"))
    of_pages = {path.name: _of(name, blocks(path.read_text(encoding="utf-8"))) for path in documents}
    alone = _of(name, blocks(f"```console\n{ALONE.read_text(encoding='utf-8')}```\n"))
    if alone or any(of_pages.values()):
        yield "\n## Examples\n\nOf files, in `docs/examples`.\n"
    yield from alone
    for page, found in of_pages.items():
        if found:
            yield f"\nFrom [{page}](../../{page}):\n"
            yield from found
    if live := _of(name, blocks(f"```console\n{LIVE.read_text(encoding='utf-8')}```\n")):
        yield f"\n{_BESIDE}"
        yield from live
    if in_cluster := _of(name, blocks(f"```console\n{CLUSTER.read_text(encoding='utf-8')}```\n")):
        yield f"\n{_IN_A_CLUSTER}"
        yield from in_cluster


def _of(name: str, found: Iterable[tuple[str, str]]) -> list[str]:
    """Return the examples of a command; what it prints ends before an empty line that is the last."""
    own = ((command, text) for command, text in found if command.split()[1:2] == [name])
    return [f"\n```console\n$ {command}\n{text.rstrip()}\n```\n" for command, text in own]


def _paths(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - typer's own
    """Yield a command, and the commands that it has."""
    yield path
    for name, each in sorted(getattr(command, "commands", {}).items()):
        if not each.hidden:
            yield from _paths(each, (*path, name))


def _help(path: tuple[str, ...]) -> str:
    done = CliRunner().invoke(app, [*path, "--help"], prog_name="controlplane", env={"COLUMNS": "100"})
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
