"""``docs/walkthrough.md`` has the commands and words of the walk-through, and an output of each."""

from __future__ import annotations

import pytest

from tests.walkthrough import document
from tests.walkthrough.steps import ROOT, Chapter, Step
from tests.walkthrough.story import STORY


def test_the_document_is_that_of_the_story() -> None:
    """``python -m tests.walkthrough --write`` writes it anew."""
    written = document.PATH.read_text()
    outputs = document.held(written)
    assert written == document.text(outputs)
    steps = {f"{chapter.name}/{at}": step for chapter in STORY for at, step in enumerate(chapter.steps)}
    assert {name for name, step in steps.items() if step.shows} <= {name for name, output in outputs.items() if output}


def test_outputs_are_read_as_they_were_written() -> None:
    story = (
        Chapter("a", "A", (Step("true"), Step("printf 'x\\n'\nls", "Two lines."))),
        Chapter("b", "B", (Step("id"),)),
    )
    outputs = {"a/0": "", "a/1": "x\n$ no prompt\n", "b/0": "uid=0\n"}
    assert document.held(document.text(outputs, story), story) == outputs


@pytest.mark.parametrize(
    "manifest", sorted((ROOT / "tests/walkthrough/manifests").iterdir()), ids=lambda path: path.stem
)
def test_each_manifest_is_used(manifest: object) -> None:
    commands = "\n".join(step.command for chapter in STORY for step in chapter.steps)
    assert str(manifest).removeprefix(f"{ROOT}/") in commands
