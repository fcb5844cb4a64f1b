"""istioctl, unmodified, against this control plane on a node: it reads what it reads of istiod.

``make istioctl`` builds it and runs this; it is no part of ``make test``, since it takes minutes and a gigabyte of Go
modules.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from controlplane import ISTIO_VERSION
from tests.cluster.node import Node
from tests.istioctl.build import ISTIOCTL
from tests.kubernetes import meshed
from tests.kubernetes.meshed import namespace, read, said
from tests.patience import PATIENCE_SECONDS, wait_until

SHOP = "asked"


@pytest.fixture(scope="module")
def node(kube_node: Node) -> Iterator[Node]:
    """The node with a control plane, and the shop in the mesh after a request from one proxy to the other."""
    with meshed.small_mesh(kube_node), namespace(kube_node, SHOP, "istio-injection=enabled"):
        meshed.shop(kube_node, SHOP)
        wait_until(lambda: "web v1, called by" in said(kube_node, SHOP, "curl", "-sS", "http://web"))
        yield kube_node


def istioctl(node: Node, *arguments: str) -> str:
    """Run it with every right; return all that it prints. Raises ``AssertionError`` with its complaint."""
    environment = {**os.environ, "KUBECONFIG": str(node.kubeconfig)}
    asked = [str(ISTIOCTL.path), *arguments]
    ended = subprocess.run(
        asked, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def proxy(node: Node, application: str) -> str:
    """Return what istioctl calls the proxy of the only pod of an application."""
    (pod,) = read(node, SHOP, "pods", "-l", f"app={application}")
    return f"{pod['metadata']['name']}.{SHOP}"


def test_it_finds_the_control_plane_and_both_proxies(node: Node) -> None:
    version = istioctl(node, "version")
    assert f"control plane version: {ISTIO_VERSION}" in version
    assert "(2 proxies)" in version
    status = istioctl(node, "proxy-status")
    for application in ("web", "toolbox"):
        assert re.search(rf"{proxy(node, application)} +Kubernetes +istiod-\S+ +4 \(CDS,LDS,EDS,RDS\)", status), status


def test_what_an_envoy_holds_matches_what_it_was_sent(node: Node) -> None:
    compared = istioctl(node, "proxy-status", proxy(node, "web"))
    assert [line.partition(" (")[0] for line in compared.splitlines() if line] == [
        "Clusters Match",
        "Listeners Match",
        "Routes Match",
    ]


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("listener", r"0\.0\.0\.0 +80 +Trans: raw_buffer; App: http/1\.1,h2c +Route: 80"),
        ("route", r"80 +web\.asked\.svc\.cluster\.local:80 +\S+ .*/\*"),
        ("cluster", r"web\.asked\.svc\.cluster\.local +80 +- +outbound +EDS"),
        ("endpoint", r"\S+:8080 +HEALTHY +OK +outbound\|80\|\|web\.asked\.svc\.cluster\.local"),
        ("secret", r"default +Cert Chain +ACTIVE +true"),
    ],
)
def test_it_shows_the_configuration_of_a_proxy(node: Node, part: str, line: str) -> None:
    shown = istioctl(node, "proxy-config", part, proxy(node, "toolbox"))
    assert re.search(line, shown), shown


def test_it_describes_a_pod_and_knows_who_injected_it(node: Node) -> None:
    described = istioctl(node, "experimental", "describe", "pod", proxy(node, "web"))
    assert f"Service: web.{SHOP}" in described
    assert "Workload mTLS mode: PERMISSIVE" in described
    pod = proxy(node, "web").partition(".")[0]
    checked = istioctl(node, "experimental", "check-inject", pod, "--namespace", SHOP)
    assert "Namespace label istio-injection=enabled matches" in checked
    assert "No validation issues found" in istioctl(node, "analyze", "--namespace", SHOP)
