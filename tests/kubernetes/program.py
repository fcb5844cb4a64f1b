"""The program itself, asked to work on a node's cluster as a person would."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.cluster.node import Node


def controlplane(node: Node, *arguments: str) -> str:
    """Run a command of the program with the node's cluster; return what it prints."""
    result = subprocess.run(
        [sys.executable, "-m", "controlplane", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1000,
        env={**os.environ, "KUBECONFIG": str(node.kubeconfig)},
    )
    assert result.returncode == 0, result.stdout
    return result.stdout
