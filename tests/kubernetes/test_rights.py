"""The control plane runs with the rights of ``deploy/base/rbac.yaml``: none is missing, and none is idle."""

from __future__ import annotations

import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.api_server import ApiServer
from tests.cluster.daemon import Daemon
from tests.kubernetes import rights
from tests.kubernetes.rights import Right

DEPLOY = Path(__file__).parents[2] / "deploy"
SYSTEM, ACCOUNT = "istio-system", "istiod"
STATUSES = (
    ("networking.istio.io", "destinationrules envoyfilters gateways proxyconfigs sidecars"),
    ("networking.istio.io", "virtualservices workloadentries workloadgroups"),
    ("security.istio.io", "authorizationpolicies peerauthentications requestauthentications"),
)

AWAITED = {
    *(Right("patch", group, f"{plural}/status") for group, plurals in STATUSES for plural in plurals.split()),
    Right("create", "authentication.k8s.io", "tokenreviews"),
}
"""Rights of parts that the control plane does not have yet, or that need proxies. Who adds one takes it from here."""

RARE = {
    *(Right("patch", "", "secrets", SYSTEM, name) for name in ("cacerts", "istio-ca-secret")),
    Right("patch", "", "configmaps", "", "istio-ca-root-cert"),
}
"""Rights that are used once in years: a root that ends is renewed."""
NETWORKING = "networking.k8s.io/v1"
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
RULE = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}
PORTS = [{"name": "http", "number": 80, "protocol": "HTTP"}]
OBJECTS = (
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "istio-ingressgateway", "namespace": SYSTEM},
        "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.9"]},
    },
    {
        "apiVersion": NETWORKING,
        "kind": "IngressClass",
        "metadata": {"name": "istio"},
        "spec": {"controller": "istio.io/ingress-controller"},
    },
    {
        "apiVersion": NETWORKING,
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"ingressClassName": "istio", "rules": [RULE]},
    },
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"hosts": ["web.test"], "ports": PORTS, "resolution": "DNS"},
    },
)
"""Objects whose status is written."""
WRITTEN = ("root_certificates.written", "webhooks.not_asked_yet")
"""What the log says once everything was written that is written to a new cluster; its API server reaches no webhook."""


@pytest.fixture(scope="module")
def audited(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """A cluster with everything of ``deploy/`` that has served a control plane with those rights."""
    folder = tmp_path_factory.mktemp("kube")
    cluster = ApiServer(folder, options=rights.audit_options(folder))
    try:
        cluster.start()
        cluster.kubectl("apply", "-k", str(DEPLOY))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        cluster.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": OBJECTS}))
        token = cluster.kubectl("-n", SYSTEM, "create", "token", ACCOUNT).strip()
        serve_until_ready(cluster, cluster.write_kubeconfig(folder / "control-plane", token), folder)
        yield cluster
    finally:
        cluster.stop()


def serve_until_ready(cluster: ApiServer, kubeconfig: Path, folder: Path) -> None:
    """Run the control plane until it has read and written all; stopped politely, it lets go of what it holds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    ports = ("--xds-port=0", "--secure-port=0", "--webhook-port=0", f"--monitoring-port={port}")
    options = ("--kubeconfig", str(kubeconfig), *ports)
    environment = {"PYTHONPATH": str(DEPLOY.parent), "PATH": "/usr/bin:/bin"}
    process = Daemon(
        "controlplane", (sys.executable, "-m", "controlplane", "serve", *options), folder, environment=environment
    )

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1):
                said = process.log_path.read_text()
                return all(event in said for event in WRITTEN) and all(statuses(cluster))
        except (urllib.error.URLError, TimeoutError):
            return False

    process.start()
    try:
        process.wait_until(ready)
    finally:
        process.stop(grace_seconds=20)


def statuses(cluster: ApiServer) -> tuple[bool, bool, bool]:
    """Return whether the status says where the Ingress is reached, and of the ServiceEntry addresses and condition."""
    ingress, entry = (
        json.loads(cluster.kubectl("-n", "default", "get", kind, "web", "-o", "json")).get("status", {})
        for kind in ("ingress", "serviceentry")
    )
    addresses = [each["value"] for each in entry.get("addresses", ())]
    return (
        ingress.get("loadBalancer") == {"ingress": [{"ip": "192.0.2.9"}]},
        addresses == ["240.240.0.1", "2001:2::1"],
        [each["type"] for each in entry.get("conditions", ())] == ["Reconciled"],
    )


def test_what_the_program_writes_to_statuses(audited: ApiServer) -> None:
    assert statuses(audited) == (True, True, True)


def test_no_right_is_missing(audited: ApiServer) -> None:
    assert rights.refused(audited, SYSTEM, ACCOUNT) == set()


def test_no_right_is_idle(audited: ApiServer) -> None:
    assert sorted(rights.unused(audited, SYSTEM, ACCOUNT) - AWAITED - RARE) == []


def test_nothing_is_awaited_in_vain(audited: ApiServer) -> None:
    """What is used by now, or not granted any more, has to leave the list."""
    assert sorted(AWAITED - rights.unused(audited, SYSTEM, ACCOUNT)) == []
