"""Commands of operators that reach pods through the API server: ``wait``, ``explain --live`` and ``bug-report``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.cluster.node import Node
from tests.kubernetes.meshed import SYSTEM, Json, apply, read

LONG = "120s"
"""How long ``wait`` may wait, where it should not have to."""


def a_change_is_waited_for(node: Node, namespace: str) -> None:
    """``wait`` ends once the pods have the generation that the API server tells of, and not before."""
    for number, name in enumerate(("first", "second"), start=1):
        apply(node, namespace, routed(name))
        (found,) = read(node, namespace, "virtualservices")
        assert found["metadata"]["generation"] == number
        code, told = asked(node, "wait", "vs", f"web.{namespace}", "--timeout", LONG)
        assert (code, told.splitlines()[-1]) == (0, f"VirtualService {namespace}/web: 2 of 2 proxies have it"), told
        for app in ("web", "toolbox"):
            held = json.loads(asked(node, "pc", "routes", f"{pod(node, namespace, app)}.{namespace}", "-o", "json")[1])
            assert f"route-{name}" in names_in(held), "Envoy has it when the command says so"
    code, told = asked(node, "wait", "vs", f"web.{namespace}", "--generation", "3", "--timeout", "0s")
    assert code == 1
    assert f"does not have generation 3 of VirtualService {namespace}/web yet" in told
    code, told = asked(node, "wait", "vs", f"none.{namespace}", "--timeout", "0s")
    assert code == 1
    assert f"The cluster cannot be asked for VirtualService {namespace}/none" in told


def a_request_is_explained_by_what_its_envoy_holds(node: Node, namespace: str) -> None:
    """``explain --live`` asks the Envoy of the pod for what it holds; of a pod that is not there it says so."""
    caller = f"pod/{namespace}/{pod(node, namespace, 'toolbox')}"
    code, told = asked(node, "explain", "--live", "--from", caller, "GET", "http://web/")
    assert code == 0, told
    assert "route-second" in told
    assert f"VirtualService {namespace}/web" in told
    assert "Its Envoy holds what it is served, as far as this request goes." in told
    (web,) = read(node, namespace, "pods", "-l", "app=web")
    assert f"{web['status']['podIP']}:8080" in told
    code, told = asked(node, "explain", "--live", "--from", f"pod/{namespace}/nobody", "GET", "http://web/")
    assert code != 0
    assert "nobody" in told


def a_report_has_what_the_cluster_knows(node: Node, namespace: str, file: Path) -> None:
    """``bug-report`` has what pods and API server tell, and no credential."""
    code, told = asked(node, "bug-report", "-o", str(file))
    assert code == 0, told
    with tarfile.open(file) as archive:
        read_ = {each.name: archive.extractfile(each) for each in archive.getmembers()}
        held = {name.partition("/")[2]: content.read().decode() for name, content in read_.items() if content}
    assert held["missing.txt"] == ""
    replica = pod(node, SYSTEM, "istiod")
    assert [each["metadata"]["name"] for each in json.loads(held["cluster/pods.json"])["items"]] == [replica]
    for kind in ("events", "deployments", "validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
        assert json.loads(held[f"cluster/{kind}.json"])["items"], kind
    assert json.loads(held["cluster/version.json"])["gitVersion"]
    assert f"VirtualService {namespace}/web" in held[f"cluster/logs/{replica}.discovery.log"]
    for app in ("web", "toolbox"):
        proxy = f"{pod(node, namespace, app)}.{namespace}"
        assert json.loads(held[f"{replica}.{SYSTEM}/proxies/{proxy}"])["configs"]
    whole = "".join(held.values())
    for secret in ("PRIVATE KEY-----", "eyJhbGciOi"):
        assert secret not in whole


def asked(node: Node, *arguments: str) -> tuple[int, str]:
    """Run a command with the node's cluster; return its exit code and what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "controlplane", *arguments, "--kubeconfig", str(node.kubeconfig)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1000,
        env=dict(os.environ),
    )
    return result.returncode, result.stdout


def pod(node: Node, namespace: str, app: str) -> str:
    """Return the name of the one pod of an application."""
    (found,) = read(node, namespace, "pods", "-l", f"app={app}", "--field-selector=status.phase=Running")
    return str(found["metadata"]["name"])


def routed(name: str) -> Json:
    """Return a route to the shop, which has a name."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "web"},
        "spec": {
            "hosts": ["web"],
            "http": [{"name": f"route-{name}", "route": [{"destination": {"host": "web"}}]}],
        },
    }


def names_in(value: Any) -> set[str]:
    """Return all names in a JSON value."""
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    if not isinstance(value, dict):
        return set()
    own = {value["name"]} if isinstance(value.get("name"), str) else set()
    return own.union(*map(names_in, value.values()))
