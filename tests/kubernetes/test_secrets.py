"""Secrets of a real cluster: which are read, who is given them, and what their author reads when they are no good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.api_server import ApiServer
from tests.feature.key_pairs import Issuer, Pair, secret, tls_secret
from tests.kubernetes.secure import DEPLOY, ControlPlane, Tool, roots_of

WEB, CART = "kubernetes://web", "kubernetes://cart"
ISSUER = Issuer()
PAIR = ISSUER.pair("web.test")
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gateway, namespace: shop}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get, watch, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gateway, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gateway}
subjects: [{kind: ServiceAccount, name: default, namespace: shop}]
"""


def gateway(*hosts: str, **tls: Any) -> dict[str, Any]:
    servers = [
        {
            "port": {"number": 443, "name": f"https-{host}", "protocol": "HTTPS"},
            "hosts": [f"{host}.test"],
            "tls": {"mode": "MUTUAL", "credentialName": host, **tls},
        }
        for host in hosts
    ]
    metadata = {"name": "edge", "namespace": "shop"}
    spec = {"selector": {"istio": "edge"}, "servers": servers}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata, "spec": spec}


def apply(cluster: ApiServer, *objects: dict[str, Any]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(listed))


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server with everything of ``deploy/``, a gateway's namespace ``shop``, and another, ``bank``."""
    server = ApiServer(tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        server.kubectl("apply", "-k", str(DEPLOY))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
        for name in ("shop", "bank"):
            server.kubectl("create", "namespace", name)
        server.kubectl("apply", "-f", "-", text=ROLE)
        apply(
            server,
            gateway("web"),
            *(tls_secret("web", PAIR, name, ca_crt=ISSUER.certificate) for name in ("shop", "bank")),
        )
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def control_plane(cluster: ApiServer) -> Iterator[ControlPlane]:
    program = ControlPlane(cluster, cluster.folder, "--no-plaintext")
    with program.running():
        program.until(lambda: all(roots_of(cluster, name) for name in ("shop", "bank")))
        yield program


def chain_of(held: Any, name: str) -> bytes:
    found: bytes = held[name].tls_certificate.certificate_chain.inline_bytes if name in held else b""
    return found


def test_an_account_that_may_list_secrets_is_given_keys(cluster: ApiServer, control_plane: ControlPlane) -> None:
    """Another is given roots alone; a change arrives, and so does what is named later."""
    with Tool(cluster, control_plane.secure, "shop") as tool, tool.secrets(WEB, f"{WEB}-cacert", CART) as asked:
        asked.until(lambda held: len(held) == 2)
        assert chain_of(asked.held, WEB) == PAIR.certificate
        assert asked.held[WEB].tls_certificate.private_key.inline_bytes == PAIR.key
        with Tool(cluster, control_plane.secure, "bank") as other, other.secrets(WEB, f"{WEB}-cacert") as denied:
            denied.until(lambda held: len(held) == 1)
            assert denied.held[f"{WEB}-cacert"].validation_context.trusted_ca.inline_bytes == ISSUER.certificate
            control_plane.until(lambda: control_plane.said["ads.secret_access"]["access"] == "ROOTS")
            renewed, cart = ISSUER.pair("web.test"), ISSUER.pair("cart.test")
            apply(
                cluster,
                *(tls_secret("web", renewed, name) for name in ("shop", "bank")),
                tls_secret("cart", cart, "shop"),
            )
            asked.until(lambda held: chain_of(held, WEB) == renewed.certificate)
            apply(cluster, gateway("web", "cart"))
            asked.until(lambda held: chain_of(held, CART) == cart.certificate)
            other_root = Issuer("Other CA").certificate
            apply(cluster, secret("web-cacert", {"cacert": other_root}, "bank"))
            denied.until(lambda held: held[f"{WEB}-cacert"].validation_context.trusted_ca.inline_bytes == other_root)
            assert set(denied.held) == {f"{WEB}-cacert"}


def test_roots_of_a_config_map(cluster: ApiServer, control_plane: ControlPlane) -> None:
    name = "configmap://bank/roots"
    metadata = {"name": "roots", "namespace": "bank"}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"ca.crt": ISSUER.certificate.decode()},
    }
    apply(cluster, config_map, gateway("web", caCertCredentialName=name))
    with Tool(cluster, control_plane.secure, "shop") as tool, tool.secrets(name) as asked:
        asked.until(lambda held: name in held)
        assert asked.held[name].validation_context.trusted_ca.inline_bytes == ISSUER.certificate
        other_root = Issuer("Other CA").certificate
        apply(cluster, config_map | {"data": {"ca.crt": other_root.decode()}})
        asked.until(lambda held: held[name].validation_context.trusted_ca.inline_bytes == other_root)


def test_the_condition_says_why_a_server_has_no_certificate(cluster: ApiServer, control_plane: ControlPlane) -> None:
    def condition() -> dict[str, Any]:
        status = json.loads(cluster.kubectl("-n", "shop", "get", "gateway.networking.istio.io", "edge", "-o", "json"))[
            "status"
        ]
        found: dict[str, Any] = next((each for each in status.get("conditions", ())), {})
        return found

    apply(cluster, gateway("absent", "bad"), tls_secret("bad", Pair(PAIR.certificate, ISSUER.pair("x").key), "shop"))
    problems = (
        "spec.servers[0].tls.credentialName: there is no Secret absent",
        "spec.servers[1].tls.credentialName: Secret shop/bad: data.tls.key: is not the key of the certificate",
    )
    control_plane.until(lambda: all(problem in condition().get("message", "") for problem in problems))
    apply(cluster, gateway("web", mode="SIMPLE"))
    control_plane.until(lambda: "credentialName" not in condition().get("message", "credentialName"))
