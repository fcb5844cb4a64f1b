"""What of identity and policy is looked at on a real node: the wire between pods, TLS of others, who is asked."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.documents.yaml_reader import yaml_value
from tests.cluster.node import Node
from tests.feature.key_pairs import Issuer, key_pem, tls_secret
from tests.kubernetes.secure import SYSTEM, Tool, roots_of
from tests.patience import PATIENCE_SECONDS
from tests.security.authorities import csr

Json = dict[str, Any]
SHOP = "shop"
WEB = {"matchLabels": {"app": "web"}}
SPIFFE = f"spiffe://cluster.local/ns/{SHOP}/sa"
AUTHORISER = "guard"
_PROGRAM = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Guard(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.headers.get("x-word") == "please" else 403)
        self.send_header("content-length", "0")
        self.end_headers()


ThreadingHTTPServer(("", 8080), Guard).serve_forever()
"""


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something, and fail if it does not come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def status(node: Node, *arguments: str) -> str:
    """Return the status of a request of the toolbox, 000 for none."""
    asked = ("-n", SHOP, "exec", "deploy/toolbox", "--", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}")
    said = node.kubectl(*asked, *arguments, status=(0, *range(1, 100)))
    return said[:3]


def applied(node: Node, *objects: Json) -> contextlib.AbstractContextManager[None]:
    """Have objects, in the shop where they say nothing else, for as long as the context lives."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        items = [{**each, "metadata": {"namespace": SHOP, **each["metadata"]}} for each in objects]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        node.kubectl("apply", "-f", "-", text=text)
        try:
            yield
        finally:
            node.kubectl("delete", "--ignore-not-found", "-f", "-", text=text)

    return context()


def istio(kind: str, name: str, group: str = "security.istio.io", **spec: Any) -> Json:
    """Return an object of the mesh."""
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@contextlib.contextmanager
def extension_provider(node: Node, provider: Json) -> Iterator[None]:
    """Have the mesh know an authoriser."""
    template = r"jsonpath={.data.mesh}"
    before = node.kubectl("-n", SYSTEM, "get", "configmap", "istio", "-o", template)
    mesh: Json = dict(yaml_value(before))
    mesh["extensionProviders"] = [*mesh.get("extensionProviders", ()), provider]
    patch = ("-n", SYSTEM, "patch", "configmap", "istio", "-p")
    node.kubectl(*patch, json.dumps({"data": {"mesh": json.dumps(mesh)}}))
    try:
        yield
    finally:
        node.kubectl(*patch, json.dumps({"data": {"mesh": before}}))


def authoriser() -> tuple[Json, ...]:
    """Return a server, as a pod of the mesh, that lets in who says ``please``."""
    labels = {"app": AUTHORISER}
    container = {
        "name": AUTHORISER,
        "image": "cluster.test/tools:1",
        "command": ["python3", "-c", _PROGRAM],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    pod = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}
    return (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": AUTHORISER},
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": AUTHORISER},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        },
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server outside of our code said: of its certificate, of the handshake, and then over it."""

    text: str

    @property
    def names(self) -> list[str]:
        """The URIs that the server's certificate states."""
        certificate = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", self.text, re.DOTALL)
        if certificate is None:
            return []
        told = subprocess.run(
            ["openssl", "x509", "-noout", "-ext", "subjectAltName"],
            input=certificate[0],
            capture_output=True,
            text=True,
            check=True,
        )
        return re.findall(r"URI:(\S+)", told.stdout)

    @property
    def verified(self) -> bool:
        """Whether OpenSSL found that the server's certificate leads to the roots it was given."""
        return "Verify return code: 0 (ok)" in self.text


def s_client(address: str, folder: Path, *options: str) -> Answer:
    """Ask ``/`` with ``openssl s_client``, which trusts ``roots.pem`` of a folder."""
    command = ["openssl", "s_client", "-connect", address, "-alpn", "istio-http/1.1", "-ign_eof"]
    command += ["-CAfile", str(folder / "roots.pem"), *options]
    said = subprocess.run(
        command,
        input="GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    return Answer(said.stdout)


def workload_certificate(node: Node, account: str, folder: Path) -> None:
    """Have the control plane sign for an account's token: ``cert.pem``, ``key.pem`` and ``roots.pem`` in a folder."""
    token = node.kubectl("-n", SHOP, "create", "token", account, "--audience=istio-ca").strip()
    host = node.kubectl("-n", SYSTEM, "get", "service", "istiod", "-o", "jsonpath={.spec.clusterIP}")
    key = ec.generate_private_key(ec.SECP256R1())
    with Tool(node.api, f"{host}:15012", SHOP, token) as tool:
        *chain, _ = tool.certificate(csr(key))
    (folder / "cert.pem").write_text("".join(chain))
    (folder / "key.pem").write_bytes(key_pem(key))
    (folder / "roots.pem").write_text(roots_of(node.api, SHOP))


@contextlib.contextmanager
def captured(node: Node, capture: Path, expression: str) -> Iterator[None]:
    """Write what goes through the node's interfaces, as ``tcpdump`` sees it, to a file while the context lives."""
    log = capture.with_suffix(".log")
    command = f"tcpdump -Z root -i any -U -s 0 -w {capture} '{expression}' > /dev/null 2> {log} & echo $!"
    pid = node.run("sh", "-c", command).strip()
    try:
        until(lambda: "listening on" in log.read_text(encoding="utf-8"), "tcpdump listens")
        yield
    finally:
        node.run("sh", "-c", f"kill -INT {pid}; while kill -0 {pid} 2> /dev/null; do sleep 0.1; done")


HOSTS = ("one.shop.test", "two.shop.test", "three.shop.test")
"""Of the gateway by HTTPS; the last one asks for a client certificate."""


@dataclass(frozen=True)
class Entrance:
    """Three hosts on one port, each with a certificate of its own, all of one issuer."""

    issuer: Issuer

    def objects(self) -> tuple[Json, ...]:
        """Return Secrets, servers and routes to ``web``."""
        modes = ("SIMPLE", "SIMPLE", "MUTUAL")
        credentials = [host.partition(".")[0] for host in HOSTS]
        servers = [
            {
                "port": {"number": 443, "name": f"https-{name}", "protocol": "HTTPS"},
                "hosts": [host],
                "tls": {"mode": mode, "credentialName": f"tls-{name}"},
            }
            for host, mode, name in zip(HOSTS, modes, credentials, strict=True)
        ]
        route = [{"route": [{"destination": {"host": "web"}}]}]
        group = "networking.istio.io"
        secrets = [
            tls_secret(f"tls-{name}", self.issuer.pair(host), SYSTEM, ca_crt=self.issuer.certificate)
            for host, name in zip(HOSTS, credentials, strict=True)
        ]
        return (
            *secrets,
            istio("Gateway", "three", group, selector={"istio": "ingressgateway"}, servers=servers),
            istio("VirtualService", "three", group, hosts=list(HOSTS), gateways=["three"], http=route),
        )
