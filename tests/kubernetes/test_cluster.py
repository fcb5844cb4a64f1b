"""The Kubernetes that the other tests rely on does what they rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest
from kubernetes import client, config
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config

from tests.cluster import build
from tests.cluster.api_server import ApiServer
from tests.kubernetes.kubelet import write_pod
from tests.patience import PATIENCE_SECONDS

T = TypeVar("T")


def test_a_client_reads_what_kubectl_wrote(kube_cluster: ApiServer, namespace: str) -> None:
    kube_cluster.kubectl("-n", namespace, "create", "configmap", "greeting", "--from-literal=word=hello")
    with config.new_client_from_config(config_file=str(kube_cluster.kubeconfig)) as api:
        assert client.CoreV1Api(api).read_namespaced_config_map("greeting", namespace).data == {"word": "hello"}


async def test_the_asyncio_client_lists_raw(kube_cluster: ApiServer, namespace: str) -> None:
    kube_cluster.kubectl("-n", namespace, "create", "service", "clusterip", "web", "--tcp=80")
    async with await aio_config.new_client_from_config(config_file=str(kube_cluster.kubeconfig)) as api:
        answer = await aio_client.CoreV1Api(api).list_namespaced_service_without_preload_content(namespace)
        services = json.loads(await answer.read())
    assert [service["metadata"]["name"] for service in services["items"]] == ["web"]


def test_a_token_is_reviewed_for_its_audience(kube_cluster: ApiServer, namespace: str) -> None:
    kube_cluster.kubectl("-n", namespace, "create", "serviceaccount", "web")
    token = kube_cluster.kubectl("-n", namespace, "create", "token", "web", "--audience=istio-ca").strip()
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": ["istio-ca"]},
    }
    answer = kube_cluster.kubectl("create", "-o", "json", "-f", "-", text=json.dumps(review))
    status = json.loads(answer)["status"]
    assert (status["authenticated"], status["user"]["username"]) == (True, f"system:serviceaccount:{namespace}:web")


def test_a_written_pod_becomes_an_endpoint(kube_cluster: ApiServer, namespace: str) -> None:
    kube_cluster.kubectl("-n", namespace, "create", "service", "clusterip", "web", "--tcp=80")
    write_pod(kube_cluster, namespace, "web", "10.1.2.3", {"app": "web"})
    query = ("-n", namespace, "get", "endpointslices", "-o", "jsonpath={.items[*].endpoints[*].addresses[*]}")
    assert _eventually(lambda: kube_cluster.kubectl(*query)) == "10.1.2.3"


def test_the_api_server_comes_back_with_its_objects(own_kube_cluster: ApiServer) -> None:
    kube = own_kube_cluster.kubectl
    kube("create", "namespace", "before")
    own_kube_cluster.api.stop()
    with pytest.raises(RuntimeError, match="refused"):
        kube("get", "namespace", "before")
    own_kube_cluster.api.start()
    own_kube_cluster.wait_ready()
    assert "before" in kube("get", "namespaces")


@pytest.mark.usefixtures("kube_binaries")
def test_other_binaries_take_the_place_of_the_built_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with etcd and an API server is enough; Pods then need no service account, which nobody would make."""
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in (*build.SERVERS, "kubectl"):
        (assets / name).symlink_to(build.binary(name))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing-built"))
    build.build(node=False)  # finds nothing to do
    server = ApiServer(tmp_path)
    try:
        server.start()
        server.kubectl("run", "web", "--image=web")
        assert server.manager is None
    finally:
        server.stop()


@pytest.mark.usefixtures("kube_binaries")
def test_everything_ends_with_a_killed_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster", "up", "--no-node", "--folder", str(tmp_path / "kube")],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        assert "KUBECONFIG=" in _line_with(parent.stdout, "KUBECONFIG=")
        children = [
            int(pid)
            for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text(encoding="utf-8").split()
        ]
        assert len(children) >= 2
        os.kill(parent.pid, signal.SIGKILL)
    assert _eventually(lambda: not any(map(_alive, children)))


def _line_with(lines: Iterable[str], words: str) -> str:
    return next((line for line in lines if words in line), "")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _eventually(ask: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Ask until the answer is not empty; the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer
