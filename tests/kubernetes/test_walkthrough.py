"""The walk-through on a real node: images, manifests, injected pods, their traffic, and the control plane's own pod."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import mesh_images
from tests.cluster.node import Node
from tests.envoy.test_authorization import OTHER_KEY, key_set, token
from tests.feature.key_pairs import Issuer
from tests.kubernetes.conftest import missing
from tests.kubernetes.program import controlplane
from tests.kubernetes.protected import (
    AUTHORISER,
    HOSTS,
    SPIFFE,
    WEB,
    Entrance,
    applied,
    authoriser,
    captured,
    extension_provider,
    istio,
    s_client,
    status,
    until,
    workload_certificate,
)
from tests.patience import PATIENCE_SECONDS
from tests.walkthrough.runner import typed
from tests.walkthrough.story import REMOVAL, STORY

SNI = b"outbound_.80_._.web.shop.svc.cluster.local"
SYSTEM, SHOP, OUTSIDE = "istio-system", "shop", "outside"
INGRESS = "istio-ingressgateway"


@pytest.fixture(scope="module")
def told(kube_node: Node) -> Iterator[Node]:
    """The node after each chapter but the last: the control plane, and pods that talk through the mesh."""
    for archive in mesh_images.archives():
        kube_node.load(archive)
    _clear(kube_node)
    try:
        for chapter in STORY[: STORY.index(REMOVAL)]:
            for _ in typed(chapter, kube_node.kubeconfig, lambda text: print(text, end="")):
                pass
        yield kube_node
    finally:
        for namespace in (SYSTEM, SHOP):
            print(kube_node.kubectl("-n", namespace, "describe", "pods"))
            logs = ("logs", "-l", "istio.io/rev", "--all-containers", "--prefix", "--tail=20")
            print(kube_node.kubectl("-n", namespace, *logs, status=(0, 1)))
        _clear(kube_node)


def _clear(node: Node) -> None:
    """Remove what there is of the walk-through, perhaps of a run that failed."""
    node.kubectl("delete", "namespace", SHOP, OUTSIDE, "--ignore-not-found")
    controlplane(node, "uninstall", "--purge", "-y")


def test_all_is_as_it_was_asked_for(told: Node) -> None:
    assert controlplane(told, "verify-install").endswith("✔ All is as it was asked for\n")


def test_the_control_planes_pod_has_only_the_rights_it_needs(told: Node) -> None:
    pod = ("-n", SYSTEM, "exec", "deploy/istiod", "--")
    assert told.kubectl(*pod, "id", "-u").strip() == "65532"
    with pytest.raises(RuntimeError, match="Read-only file system"):
        told.kubectl(*pod, "touch", "/app/file")


def test_a_proxy_has_only_the_rights_it_needs(told: Node) -> None:
    proxy = ("-n", SHOP, "exec", "deploy/web", "-c", "istio-proxy", "--")
    assert told.kubectl(*proxy, "id", "-u").strip() == "1337"
    with pytest.raises(RuntimeError, match="Read-only file system"):
        told.kubectl(*proxy, "touch", "/app/file")
    status = told.kubectl(*proxy, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status.splitlines()


def test_proxies_serve_what_the_injector_promised(told: Node) -> None:
    """The ports that probes and scrapers ask: readiness, and the metrics of Envoy and agent together."""
    pod = json.loads(told.kubectl("-n", SHOP, "get", "pods", "-l", "app=web,version=v1", "-o", "json"))["items"][0]
    assert restarts(pod) == 0
    asked = ("-n", SHOP, "exec", "deploy/toolbox", "--", "curl", "-sf")
    address = pod["status"]["podIP"]
    told.kubectl(*asked, f"http://{address}:15021/healthz/ready")
    port, path = (pod["metadata"]["annotations"][f"prometheus.io/{name}"] for name in ("port", "path"))
    metrics = told.kubectl(*asked, f"http://{address}:{port}{path}")
    assert "envoy_server_initialization_time_ms_count" in metrics
    assert "istio_agent_" in metrics


def test_the_wire_between_pods_shows_mutual_tls_and_nothing_else(told: Node) -> None:
    """``tcpdump`` on the node finds where requests go, and neither what they ask nor what is answered."""
    if shutil.which("tcpdump") is None:
        missing("needs tcpdump: apt-get install tcpdump")
    capture = told.folder / "wire.pcap"
    once = {"spec": {"trafficPolicy": {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}}}
    told.kubectl("-n", SHOP, "patch", "destinationrule", "web", "--type=merge", "-p", json.dumps(once))
    asked = ("-n", SHOP, "exec", "deploy/toolbox", "--", "curl", "-sf", "-H", "x-secret: red-herring", "http://web")
    said = []

    def opened() -> bool:
        said.append(told.kubectl(*asked))
        return SNI in capture.read_bytes()

    with captured(told, capture, f"tcp port 8080 and host {address(told, 'toolbox')}"):
        until(opened, "a connection is opened: its server name is what TLS does not hide")
    assert all(f"called by {SPIFFE}/toolbox" in each for each in said)
    seen = capture.read_bytes()
    assert b"\x05istio" in seen  # the protocol of the mesh, which is offered in clear text too
    assert not {each for each in (b"red-herring", b"x-secret", b"GET /", b"called by") if each in seen}


def test_openssl_speaks_mutual_tls_with_a_pod(told: Node, tmp_path: Path) -> None:
    """Each side learns the SPIFFE name of the other; without a certificate of the mesh there is no answer."""
    workload_certificate(told, "toolbox", tmp_path)
    pair = ("-cert", str(tmp_path / "cert.pem"), "-key", str(tmp_path / "key.pem"))
    server = f"{address(told, 'web', 'version=v1')}:8080"
    answer = s_client(server, tmp_path, *pair)
    assert (answer.verified, answer.names) == (True, [f"{SPIFFE}/web"])
    assert f"web v1, called by {SPIFFE}/toolbox" in answer.text
    stranger = Issuer().pair("toolbox")
    (tmp_path / "cert.pem").write_bytes(stranger.certificate)
    (tmp_path / "key.pem").write_bytes(stranger.key)
    for options in ((), pair):
        refused = s_client(server, tmp_path, *options)
        assert refused.names == [f"{SPIFFE}/web"]
        assert "alert" in refused.text
        assert "web v1" not in refused.text


def test_three_hosts_by_https_one_of_which_asks_for_a_certificate(told: Node, tmp_path: Path) -> None:
    entrance = Entrance(Issuer())
    client = entrance.issuer.pair("client")
    for name, content in (("ca", entrance.issuer.certificate), ("cert", client.certificate), ("key", client.key)):
        (tmp_path / f"{name}.pem").write_bytes(content)
    service = told.kubectl("-n", SYSTEM, "get", "service", INGRESS, "-o", "jsonpath={.spec.clusterIP}")
    shown = ("--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))

    def asked(host: str, *options: str) -> str:
        command = ["curl", "-s", "--noproxy", "*", "--cacert", str(tmp_path / "ca.pem"), *options]
        command += ["--connect-to", f"{host}:443:{service}:443", f"https://{host}/"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS).stdout

    with applied(told, *entrance.objects()):
        until(
            lambda: all(
                f"called by spiffe://cluster.local/ns/{SYSTEM}/sa/{INGRESS}" in asked(host, *shown) for host in HOSTS
            ),
            "all are served",
        )
        assert [bool(asked(host)) for host in HOSTS] == [True, True, False]
        assert not asked("four.shop.test", *shown)
        stranger = Issuer().pair("client")
        (tmp_path / "cert.pem").write_bytes(stranger.certificate)
        (tmp_path / "key.pem").write_bytes(stranger.key)
        assert [bool(asked(host, *shown)) for host in HOSTS] == [True, True, False]


def test_who_has_no_good_token_is_refused_by_the_pods_proxy(told: Node) -> None:
    rule = {"issuer": "issuer", "audiences": ["shop"], "jwks": key_set()}
    wanted = [{"from": [{"source": {"requestPrincipals": ["issuer/*"]}}]}]
    with applied(
        told,
        istio("RequestAuthentication", "tokens", jwtRules=[rule], selector=WEB),
        istio("AuthorizationPolicy", "tokens", rules=wanted, selector=WEB),
    ):

        def asked(**how: Any) -> str:
            return status(told, "-H", f"authorization: Bearer {token(**how)}", "http://web")

        until(lambda: status(told, "http://web") == "403", "no token")
        assert asked() == "200"
        assert asked(kid=None) == "200", "a key set of one key needs no name"
        assert asked(expires=-600) == "401"
        assert asked(aud="bank") == "403"
        assert asked(key=None) == "401", "alg none"
        assert asked(key=OTHER_KEY) == "401"


def test_each_action_of_a_policy_with_traffic(told: Node) -> None:
    """ALLOW, DENY, AUDIT, and CUSTOM with an authoriser that is a pod of the mesh."""
    provider = {
        "name": AUTHORISER,
        "envoyExtAuthzHttp": {
            "service": f"{AUTHORISER}.{SHOP}.svc.cluster.local",
            "port": 80,
            "includeRequestHeadersInCheck": ["x-word"],
        },
    }

    def policy(name: str, path: str, **more: Any) -> dict[str, Any]:
        rules = [{"to": [{"operation": {"paths": [path]}}]}]
        return istio("AuthorizationPolicy", name, selector=WEB, rules=rules, **more)

    custom = policy("custom", "/custom", action="CUSTOM", provider={"name": AUTHORISER})
    with extension_provider(told, provider), applied(told, *authoriser()):
        told.kubectl("-n", SHOP, "rollout", "status", f"deployment/{AUTHORISER}", "--timeout=180s")
        with applied(
            told,
            policy("deny", "/deny", action="DENY"),
            policy("audit", "/audit", action="AUDIT"),
            policy("allow", "/*", action="ALLOW"),
            custom,
        ):
            until(lambda: status(told, "-H", "x-word: please", "http://web/custom") == "200", "the authoriser answers")
            until(lambda: status(told, "http://web/deny") == "403", "what is denied is refused")
            assert status(told, "http://web/custom") == "403"
            assert status(told, "http://web/audit") == "200"
            assert status(told, "http://web/other") == "200"
        with applied(told, policy("allow", "/only", action="ALLOW")):
            until(lambda: status(told, "http://web/other") == "403", "what is not allowed is refused")
            assert status(told, "http://web/only") == "200"


def test_the_last_chapter_leaves_nothing(told: Node) -> None:
    for _ in typed(REMOVAL, told.kubeconfig):
        pass
    for kind in ("clusterroles", "clusterrolebindings"):
        assert "istiod" not in told.kubectl("get", kind, "-o", "name")


def address(node: Node, app: str, more: str = "app") -> str:
    """Return the address of an application's pod."""
    labels = ("-l", f"app={app},{more}")
    return node.kubectl("-n", SHOP, "get", "pods", *labels, "-o", "jsonpath={.items[0].status.podIP}")


def restarts(pod: dict[str, Any]) -> int:
    """Return how often containers of a pod were started again."""
    statuses = [*pod["status"]["containerStatuses"], *pod["status"]["initContainerStatuses"]]
    return sum(int(each["restartCount"]) for each in statuses)
