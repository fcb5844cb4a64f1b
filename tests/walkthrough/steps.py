"""What the walk-through is made of: chapters of steps, each a command that a reader types and what it has to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MANIFESTS = "tests/walkthrough/manifests"


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    ``text`` stands before it in the document, as Markdown. ``shows`` are regular expressions, each to be found in what
    it prints; it is typed again until it shows them, unless ``once``. ``fails``: it is meant to.
    """

    command: str
    text: str = ""
    shows: tuple[str, ...] = ()
    once: bool = False
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Chapter:
    """A title and its steps, in order; ``name`` is for the command line and the tests."""

    name: str
    title: str
    steps: tuple[Step, ...]


def apply(manifest: str, namespace: str = "shop", text: str = "") -> Step:
    """Return the step that applies a manifest of the walk-through."""
    return Step(f"kubectl -n {namespace} apply -f {MANIFESTS}/{manifest}.yaml", text)
