"""Tests of this folder need a Kubernetes (``make kubernetes`` builds it): they skip loudly without, and fail in CI.

``kube_cluster`` is one API server for all tests, each in a ``namespace`` of its own; ``own_kube_cluster`` is for a test
that breaks it, ``cluster`` for one that begins with ``deploy/``, ``watched`` for those that break it again and again;
``kube_node`` has real pods.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cluster import build
from tests.cluster.api_server import ApiServer
from tests.cluster.node import Node, lacking
from tests.kubernetes.objects import ISTIO_KINDS, definition
from tests.kubernetes.secure import DEPLOY, SYSTEM
from tests.kubernetes.watching import SPACES

PROGRAMS = ("setpriv",)


def missing(what: str) -> None:
    """Skip the test; fail it where ``CI=true``, which promises that everything is there."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let sockets of the API server's side be collected: it keeps connections that it opened to webhooks half-open."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(scope="session")
def kube_binaries() -> None:
    """The binaries of an API server are there."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            missing(f"needs {program}: apt-get install util-linux")
    try:
        for name in (*build.SERVERS, "kubectl"):
            build.binary(name)
    except build.MissingBinaryError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def kube_cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """One API server for all tests; each leaves cluster-scoped objects as it found them."""
    yield from _running(tmp_path_factory.mktemp("kube"))


@pytest.fixture
def own_kube_cluster(kube_binaries: None, tmp_path: Path) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server that the test may break, and fill with what it likes."""
    folder = tmp_path / "kube"
    folder.mkdir()
    yield from _running(folder)


@pytest.fixture
def cluster(own_kube_cluster: ApiServer) -> ApiServer:
    """An API server with everything of ``deploy/``, and the namespace of the control plane."""
    own_kube_cluster.kubectl("apply", "-k", str(DEPLOY))
    own_kube_cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
    own_kube_cluster.kubectl("create", "namespace", SYSTEM, status=(0, 1))
    return own_kube_cluster


@pytest.fixture(scope="session")
def watched(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """One API server with all of Istio's definitions, for the tests of watches: they break it and mend it."""
    server = ApiServer(tmp_path_factory.mktemp("watched"))
    try:
        server.start()
        definitions = {"apiVersion": "v1", "kind": "List", "items": [definition(kind) for kind in ISTIO_KINDS]}
        server.kubectl("apply", "--server-side", "-f", "-", text=json.dumps(definitions))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
        for name in SPACES:
            server.kubectl("create", "namespace", name)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def kube_node() -> Iterator[Node]:
    """A Kubernetes with a node and real pods, for all tests; needs root."""
    if problem := lacking():
        missing(problem)
    with TemporaryDirectory(prefix="node-", dir=build.cache()) as folder:  # where the images can be linked from
        node = Node(Path(folder))
        try:
            node.start()
            yield node
        finally:
            node.stop()


@pytest.fixture
def namespace(kube_cluster: ApiServer) -> Iterator[str]:
    """A namespace of the shared API server, which goes with the test."""
    name = f"test-{secrets.token_hex(4)}"
    kube_cluster.kubectl("create", "namespace", name)
    yield name
    kube_cluster.kubectl("delete", "namespace", name, "--wait=false")


def _running(folder: Path) -> Iterator[ApiServer]:
    server = ApiServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
