"""The control plane runs with the rights of ``deploy/base/rbac.yaml``: none is missing, and none is idle."""

from __future__ import annotations

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
    ("networking.istio.io", "destinationrules envoyfilters gateways proxyconfigs serviceentries sidecars"),
    ("networking.istio.io", "virtualservices workloadentries workloadgroups"),
    ("security.istio.io", "authorizationpolicies peerauthentications requestauthentications"),
)

AWAITED = {
    *(Right("patch", group, f"{plural}/status") for group, plurals in STATUSES for plural in plurals.split()),
    Right("create", "authentication.k8s.io", "tokenreviews"),
    *(Right(verb, "", "configmaps", "", "istio-ca-root-cert") for verb in ("list", "watch", "patch")),
    Right("create", "", "configmaps"),
    *(
        Right(verb, "admissionregistration.k8s.io", "validatingwebhookconfigurations", "", "istiod-default-validator")
        for verb in ("list", "watch", "patch")
    ),
    *(Right("get", "", "secrets", SYSTEM, name) for name in ("cacerts", "istio-ca-secret")),
    Right("create", "", "secrets", SYSTEM),
    *(Right(verb, "coordination.k8s.io", "leases", SYSTEM) for verb in ("get", "create", "update")),
    Right("create", "networking.istio.io", "gateways", SYSTEM),
}
"""Rights of parts that the control plane does not have yet. Who adds such a part takes its rights from here."""

RARE = {Right("patch", "", "secrets", SYSTEM, name) for name in ("cacerts", "istio-ca-secret")}
"""Rights that are used once in years: a root that ends is renewed."""


@pytest.fixture(scope="module")
def audited(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """A cluster with everything of ``deploy/`` that has served a control plane with those rights."""
    folder = tmp_path_factory.mktemp("kube")
    cluster = ApiServer(folder, options=rights.audit_options(folder))
    try:
        cluster.start()
        cluster.kubectl("apply", "-k", str(DEPLOY))
        token = cluster.kubectl("-n", SYSTEM, "create", "token", ACCOUNT).strip()
        serve_until_ready(cluster.write_kubeconfig(folder / "control-plane", token), folder)
        yield cluster
    finally:
        cluster.stop()


def serve_until_ready(kubeconfig: Path, folder: Path) -> None:
    """Run the control plane until it has read every kind; it is stopped politely, so it lets go of what it holds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ("--kubeconfig", str(kubeconfig), "--xds-port=0", f"--monitoring-port={port}")
    environment = {"PYTHONPATH": str(DEPLOY.parent), "PATH": "/usr/bin:/bin"}
    process = Daemon(
        "controlplane", (sys.executable, "-m", "controlplane", "serve", *options), folder, environment=environment
    )

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1):
                return True
        except (urllib.error.URLError, TimeoutError):
            return False

    process.start()
    try:
        process.wait_until(ready)
    finally:
        process.stop(grace_seconds=20)


def test_no_right_is_missing(audited: ApiServer) -> None:
    assert rights.refused(audited, SYSTEM, ACCOUNT) == set()


def test_no_right_is_idle(audited: ApiServer) -> None:
    assert sorted(rights.unused(audited, SYSTEM, ACCOUNT) - AWAITED - RARE) == []


def test_nothing_is_awaited_in_vain(audited: ApiServer) -> None:
    """What is used by now, or not granted any more, has to leave the list."""
    assert sorted(AWAITED - rights.unused(audited, SYSTEM, ACCOUNT)) == []
