"""Certificates that somebody else signs, in a real cluster, with the rights of ``deploy/``."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cluster.api_server import ApiServer
from tests.feature.client import CDS
from tests.kubernetes.secure import DEPLOY, SYSTEM, ControlPlane, Tool, roots_of
from tests.security.authorities import Signer, csr, root
from tests.security.test_kubernetes_signer import certificate, signed
from tests.security.test_serving_files import mount

KEY = ec.generate_private_key(ec.SECP256R1())
IDENTITY = "spiffe://cluster.local/ns/shop/sa/default"
SIGNER = "mesh.example.com/workloads"


@pytest.fixture
def cluster(kube_binaries: None, tmp_path: Path) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server with everything of ``deploy/``, and what it takes to have others sign."""
    folder = tmp_path / "kube"
    folder.mkdir()
    server = ApiServer(folder)
    try:
        server.start()
        server.kubectl("apply", "-k", str(DEPLOY / "overlays" / "external-signer"))
        server.kubectl("create", "namespace", "shop")
        yield server
    finally:
        server.stop()


def hand_on(cluster: ApiServer, authority: Signer, *namespaces: str) -> None:
    """Write the roots into namespaces, as istio-csr does."""
    for each in namespaces:
        roots = f"--from-literal=root-cert.pem={authority.pem.decode()}"
        cluster.kubectl("-n", each, "create", "configmap", "istio-ca-root-cert", roots)


def bundle_of_the_webhook(cluster: ApiServer) -> bytes:
    template = r"jsonpath={.webhooks[0].clientConfig.caBundle}"
    held = cluster.kubectl("get", "validatingwebhookconfiguration", "istiod-default-validator", "-o", template)
    return base64.b64decode(held)


def test_with_istio_csr_nothing_is_signed_here_and_no_roots_are_written(cluster: ApiServer) -> None:
    """``ENABLE_CA_SERVER=false``: the pair of Secret ``istiod-tls`` and the roots, where the pod has them mounted."""
    authority = root("istio-csr")
    hand_on(cluster, authority, "shop", SYSTEM)
    given = cluster.folder / "given"
    given.mkdir()
    names = (f"istiod.{SYSTEM}.svc",)
    mount(given, authority.signs("istiod", authority=False, names=names), roots=authority.pem)
    variables = {"ENABLE_CA_SERVER": "false"}
    program = ControlPlane(cluster, cluster.folder, "--serving-dir", str(given), environment=variables)
    with program.running():
        with Tool(cluster, program.secure, "shop") as tool:
            with tool.asking(CDS) as answer:
                assert answer.type_url == CDS
            with pytest.raises(grpc.RpcError, match="certificates are signed elsewhere"):
                tool.certificate(csr(KEY))
        program.until(lambda: bundle_of_the_webhook(cluster) == authority.pem)
        assert roots_of(cluster, "shop") == authority.pem.decode()
        assert not roots_of(cluster, "default")
    secrets = json.loads(cluster.kubectl("-n", SYSTEM, "get", "secrets", "-o", "json"))["items"]
    assert not secrets  # neither a root of our own nor its memory
    assert "istio-namespace-controller-election" not in cluster.kubectl("-n", SYSTEM, "get", "leases", "-o", "name")


@contextmanager
def a_signer(cluster: ApiServer, authority: Signer, signer: str = SIGNER) -> Iterator[list[dict[str, Any]]]:
    """Sign what is approved, as a controller of cert-manager does; yield the requests that were."""
    done: list[dict[str, Any]] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            for each in json.loads(cluster.kubectl("get", "csr", "-o", "json"))["items"]:
                status = each.get("status", {})
                approved = any(c["type"] == "Approved" for c in status.get("conditions", ()))
                if each["spec"]["signerName"] != signer or not approved or status.get("certificate"):
                    continue
                request = x509.load_pem_x509_csr(base64.b64decode(each["spec"]["request"]))
                names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                answer = {"status": signed(certificate(request, authority, [str(name.value) for name in names]))}
                arguments = ("patch", "csr", each["metadata"]["name"], "--subresource=status", "--type=merge", "-p")
                cluster.kubectl(*arguments, json.dumps(answer))
                done.append(each)
            ended.wait(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join()


def test_a_signer_of_kubernetes_signs_what_the_control_plane_approves(cluster: ApiServer) -> None:
    """``EXTERNAL_CA=ISTIOD_RA_KUBERNETES_API``: real requests, real approvals, and a controller that signs."""
    authority = root("signer")
    roots = cluster.folder / "roots.pem"
    roots.write_bytes(authority.pem)
    variables = {"EXTERNAL_CA": "ISTIOD_RA_KUBERNETES_API", "K8S_SIGNER": SIGNER}
    program = ControlPlane(cluster, cluster.folder, "--external-roots", str(roots), environment=variables)
    with program.running(), a_signer(cluster, authority) as done:
        program.until(lambda: authority.pem.decode() in roots_of(cluster, "shop"))
        with Tool(cluster, program.secure, "shop") as tool:
            chain = tool.certificate(csr(KEY, x509.UniformResourceIdentifier(IDENTITY)))
            with pytest.raises(grpc.RpcError, match="the request has other names than its sender"):
                tool.certificate(csr(KEY, x509.UniformResourceIdentifier(IDENTITY.replace("shop", "bank"))))
        found = x509.load_pem_x509_certificate(chain[0].encode())
        found.verify_directly_issued_by(authority.certificate)
        assert found.public_key() == KEY.public_key()
        assert chain[1:] == [roots_of(cluster, "shop")]
        (asked,) = done
        assert asked["spec"]["username"] == f"system:serviceaccount:{SYSTEM}:istiod"
        assert asked["status"]["conditions"][0]["reason"] == "IdentityProved"
        assert not json.loads(cluster.kubectl("get", "csr", "-o", "json"))["items"]


def test_a_signer_of_kubernetes_signs_for_the_ports(cluster: ApiServer) -> None:
    """``PILOT_CERT_PROVIDER=k8s.io/...``: agents and the API server believe them by the root that is given out."""
    authority, ports = root("signer"), "mesh.example.com/ports"
    config = f"""
caCertificates:
- certSigners: [{ports}]
  pem: |
    {authority.pem.decode().replace(chr(10), chr(10) + "    ")}
"""
    cluster.kubectl("-n", SYSTEM, "patch", "configmap", "istio", "-p", json.dumps({"data": {"mesh": config}}))
    variables = {"EXTERNAL_CA": "ISTIOD_RA_KUBERNETES_API", "K8S_SIGNER": SIGNER}
    variables["PILOT_CERT_PROVIDER"] = f"k8s.io/{ports}"
    program = ControlPlane(cluster, cluster.folder, environment=variables)
    with a_signer(cluster, authority, ports) as done, program.running():
        program.until(lambda: authority.pem.decode() in roots_of(cluster, "shop"))
        assert program.said["security.serving_signer"]["signer"] == ports
        host, _, port = program.secure.partition(":")
        name = f"istiod.{SYSTEM}.svc"
        with socket.create_connection((host, int(port))) as connection:
            context = ssl.create_default_context(cadata=authority.pem.decode())
            with context.wrap_socket(connection, server_hostname=name) as secured:
                shown = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
        shown.verify_directly_issued_by(authority.certificate)
        with Tool(cluster, program.secure, "shop") as tool, tool.asking(CDS) as answer:
            assert answer.type_url == CDS
        program.until(lambda: authority.pem in bundle_of_the_webhook(cluster))
        (asked,) = done
        assert asked["spec"]["username"] == f"system:serviceaccount:{SYSTEM}:istiod"
        assert asked["status"]["conditions"][0]["reason"] == "ControlPlane"
        assert not json.loads(cluster.kubectl("get", "csr", "-o", "json"))["items"]
