"""What commands say that ask an API server: the examples of ``docs/reference/cluster.txt``. There is no node.

``--update-golden`` writes them anew.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.reference.commands import CLUSTER, blocks
from tests.cluster.api_server import ApiServer
from tests.patience import PATIENCE_SECONDS

OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"istio.io/rev": "prod"}}},
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web"}]},
            },
        },
    },
]


@pytest.fixture
def cluster(kube_binaries: None, tmp_path: Path) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this module's own, with what the examples begin with."""
    server = ApiServer(tmp_path)
    try:
        server.start()
        printed(server, "controlplane install -y --no-wait --set profile=minimal")
        server.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": OBJECTS}))
        yield server
    finally:
        server.stop()


def printed(cluster: ApiServer, command: str) -> str:
    """Run a command of the examples; return its answer, then what else it says."""
    program, *arguments = shlex.split(command)
    assert program == "controlplane"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("CONTROLPLANE_", "FORCE_COLOR"))}
    result = subprocess.run(
        [sys.executable, "-m", "controlplane", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * PATIENCE_SECONDS,
        env=ours | {"KUBECONFIG": str(cluster.kubeconfig), "NO_COLOR": "1"},
    )
    lines = [*result.stdout.splitlines(), *result.stderr.splitlines()]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def test_an_example_in_a_cluster_says_what_the_command_says(cluster: ApiServer, request: pytest.FixtureRequest) -> None:
    examples = blocks(f"```console\n{CLUSTER.read_text(encoding='utf-8')}```\n")
    assert examples
    found = [(command, printed(cluster, command)) for command, _ in examples]
    if request.config.getoption("--update-golden"):
        CLUSTER.write_text("".join(f"$ {command}\n{text}" for command, text in found), encoding="utf-8")
    assert found == [(command, text) for command, text in examples]
