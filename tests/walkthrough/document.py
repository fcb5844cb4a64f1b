"""The walk-through as ``docs/walkthrough.md``: its words and commands, and what a run of them printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tests.walkthrough.steps import ROOT, Chapter
from tests.walkthrough.story import STORY

PATH = ROOT / "docs" / "walkthrough.md"
_BLOCK = re.compile(r"```console\n(.*?)```\n", re.DOTALL)
_INTRODUCTION = """\
# Walk-through

From a cluster without a mesh to an application whose traffic is encrypted, watched and led. Every command here was
typed by a program, into a real Kubernetes with one node; below each stands what it printed.

```sh
make walkthrough # all of it but the last chapter, in three minutes; then the cluster is yours. As root, on Linux
```

To type it yourself, `make cluster` starts such a cluster, and `make cluster-image`, in another shell, gives it the
images of this checkout: the control plane (`controlplane/pilot`), and the proxy with its agent
(`controlplane/proxyv2`). On a cluster of your own, build and push them as `deploy/README.md` says, and take an image
with `curl` and Python in the place of `cluster.test/tools:1`.
"""


def text(outputs: Mapping[str, str], story: Iterable[Chapter] = STORY) -> str:
    """Return the document; ``outputs`` are what commands printed, by chapter and number (``install/0``)."""
    return "\n".join([_INTRODUCTION, *(_chapter(chapter, outputs) for chapter in story)])


def held(document: str, story: Iterable[Chapter] = STORY) -> dict[str, str]:
    """Return the outputs that a document has."""
    steps = {f"{chapter.name}/{at}": step for chapter in story for at, step in enumerate(chapter.steps)}
    blocks = [match[1] for match in _BLOCK.finditer(document)]
    return {
        name: block.removeprefix(_prompted(step.command))
        for (name, step), block in zip(steps.items(), blocks, strict=False)
    }


def _chapter(chapter: Chapter, outputs: Mapping[str, str]) -> str:
    parts = [f"## {chapter.title}\n"]
    for at, step in enumerate(chapter.steps):
        if step.text:
            parts.append(f"{step.text}\n")
        parts.append(f"```console\n{_prompted(step.command)}{outputs.get(f'{chapter.name}/{at}', '')}```\n")
    return "\n".join(parts)


def _prompted(command: str) -> str:
    return "".join(f"$ {line}\n" for line in command.splitlines())
