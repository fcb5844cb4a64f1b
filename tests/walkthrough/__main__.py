"""``make walkthrough``: a cluster, and the walk-through on it; the cluster stays until Ctrl-C.

``--write`` writes ``docs/walkthrough.md`` with what was printed, the last chapter included.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.cluster import build, mesh_images
from tests.cluster.__main__ import Stopped, occupied, stop_on_signals
from tests.cluster.node import Node
from tests.walkthrough import document
from tests.walkthrough.runner import UnexpectedError, typed
from tests.walkthrough.story import REMOVAL, STORY

_NEXT = """\
{seconds:.0f} s. The cluster is yours until Ctrl-C here. In another shell:
  export KUBECONFIG={kubeconfig} PATH={programs}:$PATH
  kubectl -n shop get pods
  kubectl -n shop exec deploy/toolbox -- curl -sS http://web
  kubectl -n istio-system exec deploy/istiod -- python -m controlplane status
docs/walkthrough.md tells all that was done; the manifests are in tests/walkthrough/manifests.
"""


def main() -> None:
    """Run it. Exit status 1: a command did not show what it has to, or the machine lacks something."""
    parser = argparse.ArgumentParser(prog="python -m tests.walkthrough", description=__doc__)
    parser.add_argument("--folder", type=Path, default=build.cache() / "run", help="everything of this cluster")
    parser.add_argument("--write", action="store_true", help="write docs/walkthrough.md, take everything away, and end")
    options = parser.parse_args()
    stop_on_signals()
    try:
        with occupied(options.folder.absolute()):
            _run(Node(options.folder.absolute()), write=options.write)
    except (Stopped, KeyboardInterrupt):
        pass
    except (RuntimeError, OSError, UnexpectedError) as error:
        sys.exit(str(error))


def _run(node: Node, *, write: bool) -> None:
    try:
        node.start()
        for archive in mesh_images.archives():
            node.load(archive)
        started = time.monotonic()
        outputs: dict[str, str] = {}
        for chapter in STORY if write else STORY[: STORY.index(REMOVAL)]:
            _tell(f"\n## {chapter.title}\n\n")
            for at, each in enumerate(typed(chapter, node.kubeconfig, _tell)):
                outputs[f"{chapter.name}/{at}"] = each.output
        if write:
            document.PATH.write_text(document.text(outputs))
            return
        seconds, programs = time.monotonic() - started, f"{Path(sys.executable).parent}:{build.KUBERNETES.folder}"
        _tell("\n" + _NEXT.format(seconds=seconds, kubeconfig=node.kubeconfig, programs=programs))
        signal.pause()
    finally:
        node.stop()


def _tell(text: str) -> None:
    print(text, end="", flush=True)


if __name__ == "__main__":
    main()
