"""The node that the tests with pods rely on: traffic, names, tokens and rules are those of any Kubernetes."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.images import TOOLS
from tests.cluster.node import Node
from tests.patience import PATIENCE_SECONDS

WEB = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: web}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: {TOOLS}
        command: [sh, -c, "cd /var; hostname > index.html; exec python3 -m http.server 8080"]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: web}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client, namespace: web}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - name: rules
    image: {TOOLS}
    command: [iptables, -t, nat, -A, OUTPUT, -p, tcp, -d, 192.0.2.1, --dport, "80", -j, DNAT, --to, "127.0.0.1:8081"]
    securityContext: {{runAsUser: 0, capabilities: {{add: [NET_ADMIN, NET_RAW], drop: [ALL]}}}}
  containers:
  - name: client
    image: {TOOLS}
    command: [python3, -m, http.server, -d, /var/run/secrets/tokens, "8081"]
    volumeMounts: [{{name: token, mountPath: /var/run/secrets/tokens}}]
  volumes:
  - name: token
    projected: {{sources: [{{serviceAccountToken: {{path: istio-token, audience: istio-ca}}}}]}}
"""


@pytest.fixture(scope="module")
def web(kube_node: Node) -> Node:
    kube_node.kubectl("apply", "-f", "-", text=WEB)
    kube_node.kubectl("-n", "web", "rollout", "status", "deployment/web", "--timeout=120s")
    kube_node.kubectl("-n", "web", "wait", "--for=condition=Ready", "pod/client", "--timeout=120s")
    return kube_node


def curl(node: Node, url: str) -> str:
    return node.kubectl("-n", "web", "exec", "client", "-c", "client", "--", "curl", "-sf", "--max-time", "5", url)


def test_a_pod_reaches_a_service_by_name(web: Node) -> None:
    pods = web.kubectl("-n", "web", "get", "pods", "-l", "app=web", "-o", "name").split()
    assert f"pod/{curl(web, 'http://web.web.svc.cluster.local').strip()}" in pods


def test_this_machine_reaches_a_cluster_ip(web: Node) -> None:
    address = web.kubectl("-n", "web", "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    subprocess.run(["curl", "-sf", "--noproxy", "*", "--max-time", "5", f"http://{address}"], check=True)


def test_a_projected_token_is_for_its_audience_and_rules_hold(web: Node) -> None:
    """The rule of the init container leads to the client's own server, which serves the token."""
    payload = curl(web, "http://192.0.2.1/istio-token").split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (claims["aud"], claims["sub"]) == (["istio-ca"], "system:serviceaccount:web:default")


def test_a_killed_run_leaves_no_process_of_its_node(web: Node, tmp_path: Path) -> None:
    """As when a test run is killed; what it leaves in the kernel, the next node with its number removes."""
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.cluster", "up", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        assert any("KUBECONFIG" in line for line in run.stdout)
        assert processes_of(folder)
        run.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(folder) == []
    assert "node1" in web.kubectl("get", "nodes")


def test_nothing_of_a_node_outlives_it(web: Node, tmp_path: Path) -> None:
    """Two nodes run at a time, and one that is stopped leaves no process, interface or control group."""
    folder = tmp_path / "second"
    folder.mkdir()
    second = Node(folder)
    try:
        second.start()
        assert second.place != web.place
        assert "node1" in second.kubectl("get", "nodes")
    finally:
        second.stop()
    assert processes_of(folder) == []
    assert second.place.host not in subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{second.place.control_group}"))


def processes_of(folder: Path) -> list[str]:
    """The command lines that name a folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            lines.append(path.read_text().replace("\0", " "))
    return [line for line in lines if str(folder) in line]
