"""Pods that begin and end, on a real node: no request is lost, Jobs end, what crashes comes back and is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.node import Node
from tests.kubernetes import meshed, operators
from tests.kubernetes.meshed import Json, apply, is_ready, load, namespace, read, ready_again, rolled_out, said
from tests.patience import wait_until

SYSTEM, SHOP, TOOLS = meshed.SYSTEM, "lifecycle", "cluster.test/tools:1"
MANY = int(os.environ.get("MANY_PODS", "6"))
"""Pods that are made at once; more where somebody asks for it."""


@pytest.fixture(scope="module")
def node(kube_node: Node) -> Iterator[Node]:
    """The node with a control plane, and the shop in the mesh."""
    with meshed.small_mesh(kube_node), namespace(kube_node, SHOP, "istio-injection=enabled"):
        meshed.shop(kube_node, SHOP)
        yield kube_node


def job(name: str, script: str, **annotations: str) -> Json:
    container = {"name": "work", "image": TOOLS, "command": ["sh", "-euc", script]}
    template = {
        "metadata": {"annotations": annotations, "labels": {"app": name}},
        "spec": {"containers": [container], "restartPolicy": "Never"},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": template}}  # fmt: skip


def completed(node: Node, name: str) -> None:
    """Wait until a Job is complete."""

    def holds() -> bool:
        (found,) = read(node, SHOP, "jobs", f"--field-selector=metadata.name={name}")
        conditions = {each["type"]: each["status"] for each in (found.get("status") or {}).get("conditions") or ()}
        assert conditions.get("Failed") != "True", node.kubectl("-n", SHOP, "describe", "pods", "-l", f"app={name}")
        return conditions.get("Complete") == "True"

    wait_until(holds, lambda: node.kubectl("-n", SHOP, "describe", "pods", "-l", f"app={name}"))


def test_operators_reach_the_pods_through_the_api_server(node: Node, tmp_path: Path) -> None:
    """What a command says of a change is true at once, in each pod, and a report has all that there is."""
    operators.a_change_is_waited_for(node, SHOP)
    operators.a_request_is_explained_by_what_its_envoy_holds(node, SHOP)
    operators.a_report_has_what_the_cluster_knows(node, SHOP, tmp_path / "report.tar.gz")


def test_no_request_is_lost_while_pods_begin_and_end(node: Node) -> None:
    """Twice all pods of the called service are replaced, then there are three of them, and one."""
    with load(node, SHOP, "http://web"):
        for _ in range(2):
            node.kubectl("-n", SHOP, "rollout", "restart", "deployment/web")
            rolled_out(node, SHOP, "web")
        node.kubectl("-n", SHOP, "scale", "deployment/web", "--replicas=3")
        rolled_out(node, SHOP, "web")
        node.kubectl("-n", SHOP, "scale", "deployment/web", "--replicas=1")
        wait_until(lambda: len(read(node, SHOP, "pods", "-l", "app=web")) == 1)


def test_a_job_asks_at_once_and_ends_with_its_sidecar(node: Node) -> None:
    """Its first act is a request through the proxy, which is there before it; the proxy ends after it."""
    apply(node, SHOP, job("native", "curl -sSf http://web"))
    completed(node, "native")
    (pod,) = read(node, SHOP, "pods", "-l", "app=native")
    assert pod["status"]["phase"] == "Succeeded"
    assert "istio-proxy" in {each["name"] for each in pod["spec"]["initContainers"]}


def test_a_job_with_a_classic_sidecar_ends_when_it_tells_the_agent(node: Node) -> None:
    """Where Kubernetes knows no native sidecars, or is not to use them: as with Istio, by ``/quitquitquit``."""
    script = "curl -sSf http://web\ncurl -sSf -X POST http://127.0.0.1:15020/quitquitquit"
    classic = {
        "sidecar.istio.io/nativeSidecar": "false",
        "proxy.istio.io/config": "holdApplicationUntilProxyStarts: true",
    }
    apply(node, SHOP, job("classic", script, **classic))
    completed(node, "classic")
    (pod,) = read(node, SHOP, "pods", "-l", "app=classic")
    assert {each["name"] for each in pod["spec"]["containers"]} == {"work", "istio-proxy"}


@pytest.mark.parametrize("program", ["envoy", "agent"])
def test_a_crash_is_survived_and_seen(node: Node, program: str) -> None:
    """Whichever of the two is killed, the container is started again, Kubernetes counts it, and traffic flows."""
    (pod,) = read(node, SHOP, "pods", "-l", "app=web")
    before = meshed.restarts(pod, "istio-proxy")
    application = meshed.restarts(pod, "web")
    node.run("kill", "-9", process_of(node, pod["metadata"]["name"], program))
    ready_again(node, SHOP, "app=web", "istio-proxy", before + 1)
    wait_until(lambda: "web v1, called by" in said(node, SHOP, "curl", "-sS", "http://web"))
    (pod,) = read(node, SHOP, "pods", "-l", "app=web")
    assert meshed.restarts(pod, "web") == application
    (status,) = (each for each in pod["status"]["initContainerStatuses"] if each["name"] == "istio-proxy")
    assert status["lastState"]["terminated"]["exitCode"] == 137


def process_of(node: Node, pod: str, program: str) -> str:
    """Return the number that a process of a pod's proxy has on the node: Envoy, or the agent that started it."""
    script = (
        'for p in /proc/[0-9]*; do if tr "\\0" "\\n" < $p/environ 2> /dev/null | grep -qx "POD_NAME=$0"; '
        'then echo "${p#/proc/} $(tr "\\0" " " < $p/cmdline)"; fi; done'
    )
    lines = [each.split(" ", 1) for each in node.run("sh", "-c", script, pod).splitlines()]
    found = [number for number, command in lines if ("pilot-agent" in command) == (program == "agent")]
    assert len(found) == 1, lines
    return found[0]


def test_a_pod_that_begins_without_a_control_plane_waits_for_it(node: Node) -> None:
    """No configuration, no certificate: the proxy is not ready, and the application does not begin before it."""
    injected = subprocess.run(
        [sys.executable, "-m", "controlplane", "kube-inject", "-f", "-"],
        input=yaml.safe_dump(pod("early")),
        env={**os.environ, "KUBECONFIG": str(node.kubeconfig)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    with namespace(node, "early"):
        wait_until(lambda: "istio-ca-root-cert" in node.kubectl("-n", "early", "get", "configmaps", "-o", "name"))
        node.kubectl("-n", SYSTEM, "scale", "deployment/istiod", "--replicas=0")
        try:
            wait_until(lambda: not read(node, SYSTEM, "pods", "-l", "app=istiod"))
            node.kubectl("-n", "early", "apply", "-f", "-", text=injected)
            tells = ("-n", "early", "logs", "early", "-c", "istio-proxy", "--tail=100")
            wait_until(lambda: "agent.certificate_missing" in node.kubectl(*tells, status=(0, 1)),
                       lambda: node.kubectl(*tells, status=(0, 1)))  # fmt: skip
            (early,) = read(node, "early", "pods")
            assert not is_ready(early)
            (application,) = early["status"]["containerStatuses"]
            assert "waiting" in application["state"]
        finally:
            node.kubectl("-n", SYSTEM, "scale", "deployment/istiod", "--replicas=1")
        wait_until(lambda: is_ready(read(node, "early", "pods")[0]))
        assert meshed.restarts(read(node, "early", "pods")[0], "istio-proxy") == 0


def pod(name: str, **metadata: Json) -> Json:
    container = {"name": "app", "image": TOOLS, "command": ["sleep", "infinity"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}, **metadata},
            "spec": spec}  # fmt: skip


def test_without_a_control_plane_pods_of_the_mesh_are_refused_and_all_others_made(node: Node) -> None:
    """``Fail``: with a reason that names the webhook; its own pods come back. ``Ignore``: a pod without a sidecar."""
    node.kubectl("-n", SYSTEM, "scale", "deployment/istiod", "--replicas=0")
    try:
        wait_until(lambda: not read(node, SYSTEM, "pods", "-l", "app=istiod"))
        with pytest.raises(RuntimeError, match=r'failed calling webhook "namespace\.sidecar-injector\.istio\.io"'):
            apply(node, SHOP, pod("refused"))
        apply(node, "default", pod("unconcerned"))
        node.kubectl("delete", "pod", "unconcerned")
        failure_policy(node, "Ignore")
        apply(node, SHOP, pod("bare"))
        (bare,) = read(node, SHOP, "pods", "-l", "app=bare")
        assert [each["name"] for each in bare["spec"]["containers"]] == ["app"]
        assert "initContainers" not in bare["spec"]
        node.kubectl("-n", SHOP, "delete", "pod", "bare")
    finally:
        failure_policy(node, "Fail")
        node.kubectl("-n", SYSTEM, "scale", "deployment/istiod", "--replicas=1")
        rolled_out(node, SYSTEM, "istiod")


def failure_policy(node: Node, policy: str) -> None:
    """Have a failure of the injecting webhooks mean ``Fail`` or ``Ignore``."""
    change = (
        "["
        + ",".join(f'{{"op":"replace","path":"/webhooks/{n}/failurePolicy","value":"{policy}"}}' for n in range(4))
        + "]"
    )
    node.kubectl("patch", "mutatingwebhookconfiguration", "istio-sidecar-injector", "--type=json", "--patch", change)


def test_many_pods_at_once(node: Node) -> None:
    """All of them get ready, and nothing of them or of the control plane is started twice."""
    container = {"name": "app", "image": TOOLS, "command": ["sleep", "infinity"]}
    template = {"metadata": {"labels": {"app": "many"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}  # fmt: skip
    spec = {"replicas": MANY, "selector": {"matchLabels": {"app": "many"}}, "template": template,
            "progressDeadlineSeconds": 3000}  # fmt: skip
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec}
    apply(node, SHOP, deployment)
    for _ in range(10):  # a wait of kubectl's ends by itself
        if "successfully" in node.kubectl(
            "-n", SHOP, "rollout", "status", "deployment/many", "--timeout=250s", status=(0, 1)
        ):
            break
    pods = read(node, SHOP, "pods", "-l", "app=many")
    assert len(pods) == MANY
    assert all(is_ready(each) and not meshed.restarts(each, "istio-proxy") for each in pods)
    (control_plane,) = read(node, SYSTEM, "pods", "-l", "app=istiod")
    assert not meshed.restarts(control_plane, "discovery")
    node.kubectl("-n", SHOP, "delete", "deployment", "many")
