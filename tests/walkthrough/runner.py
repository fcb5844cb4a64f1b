"""Types the commands of the walk-through into a shell, and compares what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import build
from tests.walkthrough.steps import ROOT, Chapter, Step

TIMEOUT_SECONDS = 300.0
_PAUSE_SECONDS = 0.3


class UnexpectedError(Exception):
    """A command did not show what it has to; the message has the command and what it printed."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A step and what it printed, standard output and error in the order in which they came."""

    step: Step
    output: str


def typed(chapter: Chapter, kubeconfig: Path, tell: Callable[[str], None] = lambda _: None) -> Iterator[Typed]:
    """Type the steps of a chapter one after the other. Raises ``UnexpectedError`` at the first that does not hold."""
    for step in chapter.steps:
        tell(f"$ {step.command}\n")
        output = _until_it_shows(step, kubeconfig)
        tell(output)
        yield Typed(step, output)


def _until_it_shows(step: Step, kubeconfig: Path) -> str:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        ended = _run(step.command, kubeconfig)
        problem = _problem(step, ended)
        if problem is None:
            return ended.stdout
        if step.once or not step.shows or time.monotonic() > deadline:
            raise UnexpectedError(f"$ {step.command}\n{ended.stdout}\n{problem}")
        time.sleep(_PAUSE_SECONDS)


def _problem(step: Step, ended: subprocess.CompletedProcess[str]) -> str | None:
    if (ended.returncode != 0) != step.fails:
        return f"It ended with {ended.returncode}."
    missing = [each for each in step.shows if not re.search(each, ended.stdout, re.MULTILINE)]
    return f"It did not show {missing}." if missing else None


def _run(command: str, kubeconfig: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{build.KUBERNETES.folder}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-eu", "-c", command],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig), "COLUMNS": "110"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS * 2,
    )
