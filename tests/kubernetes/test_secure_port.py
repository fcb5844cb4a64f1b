"""The secure port of the program as clients of a cluster see it: with tokens of ``kubectl``, and with ``openssl``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import UniformResourceIdentifier

from tests.cluster.api_server import ApiServer
from tests.feature.client import CDS
from tests.kubernetes.secure import DEPLOY, SYSTEM, ControlPlane, Tool, account_token, refusal, roots_of
from tests.patience import PATIENCE_SECONDS
from tests.security.authorities import csr

KEY = ec.generate_private_key(ec.SECP256R1())
NAMES = ("extra.example", "istio-pilot", "istiod", "istiod-remote")
SELECTING = "discoverySelectors: [{matchLabels: {mesh: inside}}]"


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server with everything of ``deploy/``, and a mesh that some namespaces are outside of."""
    server = ApiServer(tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        server.kubectl("apply", "-k", str(DEPLOY))
        select(server, SELECTING)
        for name in (SYSTEM, "shop", "bank"):
            server.kubectl("create", "namespace", name, status=(0, 1))
            server.kubectl("label", "namespace", name, "mesh=inside")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def control_plane(cluster: ApiServer) -> Iterator[ControlPlane]:
    """The program without a port in plaintext, once the roots are where proxies look for them."""
    program = ControlPlane(cluster, cluster.folder, "--no-plaintext", "--serving-names=extra.example")
    with program.running():
        program.until(lambda: all(roots_of(cluster, name) for name in (SYSTEM, "shop", "bank")))
        yield program


def select(cluster: ApiServer, mesh: str) -> None:
    cluster.kubectl("-n", SYSTEM, "patch", "cm", "istio", "-p", json.dumps({"data": {"mesh": mesh}}))


def openssl(*arguments: str, text: str = "") -> str:
    done = subprocess.run(
        ["openssl", *arguments],
        input=text,
        capture_output=True,
        text=True,
        errors="replace",  # s_client also shows what the server says first, if it is fast: the bytes of HTTP/2
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    return done.stdout + done.stderr


def test_there_is_no_port_in_plaintext(control_plane: ControlPlane) -> None:
    assert set(control_plane.said["app.serving"]) >= {"secure", "webhooks", "monitoring"}
    assert "xds" not in control_plane.said["app.serving"]


@pytest.mark.parametrize(
    "claims", [{"NAMESPACE": "bank"}, {"SERVICE_ACCOUNT": "admin"}], ids=["namespace", "service-account"]
)
def test_a_node_is_who_its_token_says(cluster: ApiServer, control_plane: ControlPlane, claims: dict[str, str]) -> None:
    with Tool(cluster, control_plane.secure, "shop") as tool:
        with tool.asking(CDS) as answer:
            assert answer.type_url == CDS
        code, reason = refusal(tool, **claims)
    assert code == "PERMISSION_DENIED"
    assert "spiffe://cluster.local/ns/shop/sa/default" in reason


@pytest.mark.parametrize("audience", ["", "somebody-else"], ids=["of-the-api-server", "of-somebody-else"])
def test_a_token_for_others_proves_nothing(cluster: ApiServer, control_plane: ControlPlane, audience: str) -> None:
    token = account_token(cluster, "shop", *([f"--audience={audience}"] if audience else ["--duration=10m"]))
    with Tool(cluster, control_plane.secure, "shop", token) as tool:
        assert refusal(tool)[0] == "UNAUTHENTICATED"
        with pytest.raises(grpc.RpcError, match="request authenticate failure"):
            tool.certificate(csr(KEY))


def test_who_proves_nothing_sees_nothing(cluster: ApiServer, control_plane: ControlPlane) -> None:
    with Tool(cluster, control_plane.secure, "shop", "") as tool:
        assert refusal(tool)[0] == "UNAUTHENTICATED"


def test_a_token_gets_a_certificate_that_openssl_accepts(
    cluster: ApiServer, control_plane: ControlPlane, tmp_path: Path
) -> None:
    asked_for = csr(KEY, UniformResourceIdentifier("spiffe://cluster.local/ns/bank/sa/vault"), common_name="vault")
    with Tool(cluster, control_plane.secure, "shop") as tool:
        chain = tool.certificate(asked_for)
    (tmp_path / "leaf.pem").write_text(chain[0])
    (tmp_path / "roots.pem").write_text(roots_of(cluster, "shop"))
    verified = openssl("verify", "-x509_strict", "-CAfile", str(tmp_path / "roots.pem"), str(tmp_path / "leaf.pem"))
    assert verified.endswith("leaf.pem: OK\n")
    shown = openssl("x509", "-noout", "-ext", "subjectAltName", text=chain[0])
    assert "URI:spiffe://cluster.local/ns/shop/sa/default\n" in shown
    assert "bank" not in shown


def test_it_shows_istiods_names(cluster: ApiServer, control_plane: ControlPlane, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text(roots_of(cluster, "shop"))
    name = f"istiod.{SYSTEM}.svc"
    options = ["-CAfile", str(roots), "-verify_return_error", "-verify_hostname", name, "-servername", name]
    shown = openssl("s_client", "-connect", control_plane.secure, "-alpn", "h2", *options)
    assert "Verify return code: 0 (ok)" in shown
    names = openssl("x509", "-noout", "-ext", "subjectAltName", text=shown)
    for each in NAMES:
        assert f"DNS:{each}" in names


def test_namespaces_outside_of_the_mesh_get_no_roots(cluster: ApiServer, control_plane: ControlPlane) -> None:
    """They get them as soon as the mesh configuration includes them."""
    cluster.kubectl("create", "namespace", "late")
    cluster.kubectl("label", "namespace", "late", "mesh=inside")
    control_plane.until(lambda: bool(roots_of(cluster, "late")))
    assert not roots_of(cluster, "default")
    select(cluster, "")
    control_plane.until(lambda: bool(roots_of(cluster, "default")))
    select(cluster, SELECTING)
