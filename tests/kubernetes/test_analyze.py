"""``controlplane analyze`` on a cluster: what is in it, what files would make of it, what may not be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Result, run
from tests.cluster.api_server import ApiServer
from tests.kubernetes.objects import ISTIO_KINDS, definition

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
}
ROUTE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "web"},
    "spec": {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "wep"}}]}]},
}
ACCOUNT = "looker"


def codes(result: Result) -> list[tuple[str, str]]:
    return [(each["code"], each["origin"]) for each in json.loads(result.out)]


@pytest.fixture
def token(kube_cluster: ApiServer, namespace: str) -> Iterator[str]:
    """A token of an account that may list Services and VirtualServices of all namespaces, and nothing else."""
    name = f"{ACCOUNT}-{namespace}"
    kube_cluster.kubectl("create", "serviceaccount", ACCOUNT, "-n", namespace)
    rules = [
        {"apiGroups": [group], "resources": [plural], "verbs": ["list"]}
        for group, plural in (("", "services"), ("networking.istio.io", "virtualservices"))
    ]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    }
    kube_cluster.kubectl("create", "-f", "-", text=json.dumps(role))
    account = f"--serviceaccount={namespace}:{ACCOUNT}"
    kube_cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", account)
    yield kube_cluster.kubectl("create", "token", ACCOUNT, "-n", namespace).strip()
    kube_cluster.kubectl("delete", "clusterrole,clusterrolebinding", name)


async def test_a_cluster(kube_cluster: ApiServer, namespace: str, token: str, tmp_path: Path) -> None:
    kind = next(each for each in ISTIO_KINDS if each.name == "VirtualService")
    kube_cluster.kubectl("apply", "--server-side", "-f", "-", text=json.dumps(definition(kind)))
    kube_cluster.kubectl("wait", "--for=condition=Established", "crd", "virtualservices.networking.istio.io")
    objects = {"apiVersion": "v1", "kind": "List", "items": [SERVICE, ROUTE]}
    kube_cluster.kubectl("apply", "-n", namespace, "-f", "-", text=json.dumps(objects))
    cluster = ("--kubeconfig", str(kube_cluster.kubeconfig), "-o", "json")

    broken = ("IST0101", f"VirtualService {namespace}/web")
    result = await run("analyze", *cluster, "-n", namespace)
    assert result.err == ""
    assert broken in codes(result)
    assert broken in codes(await run("analyze", *cluster, "-A"))
    assert broken not in codes(await run("analyze", *cluster))  # that of the kubeconfig is another namespace
    own = kube_cluster.write_kubeconfig(tmp_path / "own", token, namespace)

    mended = tmp_path / "mended.yaml"
    mended.write_text(json.dumps(ROUTE).replace("wep", "web"), encoding="utf-8")
    assert broken not in codes(await run("analyze", *cluster, "-n", namespace, str(mended)))

    result = await run("analyze", "--kubeconfig", str(own), "-o", "json")
    assert (result.code, codes(result)) == (0, [broken])
    assert "gateway.SecretAnalyzer was not run: Gateway objects may not be read\n" not in result.err
    assert "injection.Analyzer was not run: Namespace objects may not be read\n" in result.err

    away = own.read_text(encoding="utf-8").replace(kube_cluster.url, "https://127.0.0.1:1")
    own.write_text(away, encoding="utf-8")
    result = await run("analyze", "--kubeconfig", str(own))
    assert (result.code, result.out) == (1, "")
    assert "-f FILE looks at files without a cluster" in result.err
