"""``controlplane completion``: the scripts, run by the shell that they are for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from controlplane.cli.main import COMMANDS
from tests.cli.command import run
from tests.patience import PATIENCE_SECONDS

ASK = """
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_controlplane
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "controlplane", "completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    return done.stdout


def completed(script: str, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    command = ["bash", "--norc", "-c", f"{script}\n{ASK}", "bash", "controlplane", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ana",), ["analyze"]),
        (("",), list(COMMANDS)),
        (("analyze", "-o", ""), ["text", "log", "json", "yaml"]),
        (("analyze", "-A", "-o", "j"), ["json"]),
        (("analyze", "--failure-threshold", ""), ["Info", "Warning", "Error"]),
        (("analyze", "--output-"), ["--output-threshold"]),
        (("analyze", "-f", ""), []),  # the shell offers file names
        (("describe", ""), ["pod", "service"]),
        (("describe", "service", "--ignore"), ["--ignore-unmeshed", "--ignoreUnmeshed"]),
        (("proxy-config", "clu"), ["cluster"]),
        (("completion", "f"), ["fish"]),
        (("agent", "--"), []),
    ],
)
def test_bash(script: str, words: tuple[str, ...], expected: list[str]) -> None:
    offered = completed(script, *words)
    assert [each for each in offered if each != "--help"] == expected


async def test_zsh_runs_the_script_of_bash(script: str) -> None:
    result = await run("completion", "zsh")
    assert result.code == 0
    assert result.out.partition("\n")[2] == script


async def test_fish() -> None:
    result = await run("completion", "fish")
    assert "complete -c controlplane -n __fish_use_subcommand -f -a analyze -d " in result.out
    inside = "'__fish_seen_subcommand_from describe and __fish_seen_subcommand_from pod'"
    assert f"complete -c controlplane -n {inside} -l namespace -s n -r -d 'The namespace of a bare name.'" in result.out
    assert " -l output -s o -r -f -a 'text log json yaml' -d " in result.out


async def test_another_shell() -> None:
    result = await run("completion", "tcsh")
    assert (result.code, result.out) == (2, "")
    assert "'tcsh' is none of bash, zsh, fish" in result.err


async def test_words_before_a_command_that_mean_nothing() -> None:
    for word in ("x", "experimental"):
        assert (await run(word, "completion", "zsh")).out == (await run("completion", "zsh")).out
