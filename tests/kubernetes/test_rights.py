"""The control plane runs with the rights of ``deploy/base/rbac.yaml``: none is missing, and none is idle.

It is made to use each of them: two runs, in each of which another root has to be renewed, with an object of each kind
whose status it writes and a tool that shows a token.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from envoy.service.status.v3.csds_pb2 import SYNCED, ClientConfig

from controlplane.apis.kinds import KINDS
from controlplane.security.self_signed import RootPolicy, new_root
from tests.apis.rule_tables import GOOD
from tests.cluster.api_server import ApiServer
from tests.feature.client import CDS
from tests.feature.key_pairs import Issuer, secret
from tests.kubernetes import rights
from tests.kubernetes.rights import Right
from tests.kubernetes.secure import ACCOUNT, DEPLOY, SYSTEM, ControlPlane, Tool

WITH_STATUS = list(KINDS.values())
POOLS = (ip_network("240.240.0.0/16"), ip_network("2001:2::/48"))
INGRESSES = "networking.k8s.io/v1"
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
RULE = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}
PORTS = [{"name": "http", "number": 80, "protocol": "HTTP"}]
ROOTS = "kubernetes://web-cacert"
HTTPS = {
    "port": {"name": "https", "number": 443, "protocol": "HTTPS"},
    "hosts": ["web.test"],
    "tls": {"mode": "MUTUAL", "credentialName": "web"},
}
WITH_OWN_STATUS = (
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "istio-ingressgateway", "namespace": SYSTEM},
        "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.9"]},
    },
    {
        "apiVersion": INGRESSES,
        "kind": "IngressClass",
        "metadata": {"name": "istio"},
        "spec": {"controller": "istio.io/ingress-controller"},
    },
    {
        "apiVersion": INGRESSES,
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
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"istio": "edge"}, "servers": [HTTPS]},
    },
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": "machines", "namespace": "default"},
        "spec": {"template": {}},
    },
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "delegating", "namespace": "default"},
        "spec": {"hosts": ["web.test"], "http": [{"delegate": {"name": "nobody"}}]},
    },
    secret("web", {"cacert": Issuer().certificate}, SYSTEM),
)
"""Objects whose status is written."""


def ending_root() -> dict[str, str]:
    """A self-signed root that has to be renewed, as data of a Secret."""
    files = new_root(RootPolicy(lifetime=timedelta(days=100)), datetime.now(UTC) - timedelta(days=90))
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def write_secret(cluster: ApiServer, name: str, data: Mapping[str, str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": SYSTEM}, "data": data}
    cluster.kubectl("create", "-f", "-", text=json.dumps(secret))


def revoked(cluster: ApiServer) -> str | None:
    """Return the list of revoked certificates that pods of a namespace get, ``None`` where there is none."""
    found = json.loads(cluster.kubectl("-n", "default", "get", "configmaps", "-o", "json"))["items"]
    return next((each["data"]["ca-crl.pem"] for each in found if each["metadata"]["name"] == "istio-ca-crl"), None)


def write_objects(cluster: ApiServer) -> None:
    """Write one object of each kind that gets a status."""
    items = [
        {
            "apiVersion": f"{kind.group}/{kind.versions[0]}",
            "kind": kind.name,
            "metadata": {"name": "one", "namespace": "default"},
            "spec": GOOD[kind.name][0],
        }
        for kind in WITH_STATUS
    ]
    cluster.kubectl("create", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def without_status(cluster: ApiServer) -> list[str]:
    kinds = ",".join(f"{kind.plural}.{kind.group}" for kind in WITH_STATUS)
    items = json.loads(cluster.kubectl("-n", "default", "get", kinds, "-o", "json"))["items"]
    assert len(items) >= len(WITH_STATUS)
    return [each["kind"] for each in items if not each.get("status", {}).get("conditions")]


@pytest.fixture(scope="module")
def audited(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """A cluster with everything of ``deploy/``, in which the control plane has done everything that it does."""
    folder = tmp_path_factory.mktemp("kube")
    cluster = ApiServer(folder, options=rights.audit_options(folder))
    try:
        cluster.start()
        cluster.kubectl("apply", "-k", str(DEPLOY))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
        control_plane = ControlPlane(cluster, folder, environment={"PILOT_WORKLOAD_ENTRY_GRACE_PERIOD": "1s"})
        lists = Issuer().revoked()
        further = {"istio-generated": "", "ca-crl.pem": base64.b64encode(lists).decode()}
        write_secret(cluster, "cacerts", ending_root() | further)
        with control_plane.running():
            control_plane.until(lambda: "root_certificates.written" in control_plane.said)
            control_plane.until(lambda: revoked(cluster) == lists.decode())
        assert control_plane.said["security.root_renewed"]["secret"] == "cacerts"
        cluster.kubectl("-n", SYSTEM, "delete", "secret", "cacerts")
        write_secret(cluster, "istio-ca-secret", ending_root())
        write_objects(cluster)
        items = {"apiVersion": "v1", "kind": "List", "items": WITH_OWN_STATUS}
        cluster.kubectl("apply", "-f", "-", text=json.dumps(items))
        with control_plane.running():  # tells of each problem once, and the next one that it is still there
            control_plane.until(lambda: "DelegateNotFound" in cluster.kubectl("-n", "default", "get", "events"))
        with control_plane.running():
            control_plane.until(lambda: "webhooks.not_asked_yet" in control_plane.said)  # it is not reached from here
            control_plane.until(lambda: not without_status(cluster))
            control_plane.until(lambda: all(statuses(cluster)))
            control_plane.until(lambda: Right("patch", "", "events") not in rights.unused(cluster, SYSTEM, ACCOUNT))
            control_plane.until(lambda: revoked(cluster) == "")  # the other root has no such list
            check_tools(cluster, control_plane)
            register(cluster, control_plane)
            with (
                Tool(cluster, control_plane.secure, SYSTEM) as gateway,
                gateway.secrets("kubernetes://web-cacert") as asked,
            ):
                asked.until(lambda held: len(held) == 1)
                control_plane.until(lambda: "ads.secret_access" in control_plane.said)
        assert control_plane.said["security.root_renewed"]["secret"] == "istio-ca-secret"
        yield cluster
    finally:
        cluster.stop()


def check_tools(cluster: ApiServer, control_plane: ControlPlane) -> None:
    """Ask as `istioctl` does, with the token of the system namespace's default account."""
    with (
        Tool(cluster, control_plane.secure, "default") as proxy,
        Tool(cluster, control_plane.secure, SYSTEM) as tool,
        proxy.asking(CDS, CLUSTER_ID="Kubernetes", ISTIO_VERSION="1.27.0"),
    ):
        answer = tool.debug("istio.io/debug/syncz")
        identifier = json.loads(answer.control_plane.identifier)
        assert (identifier["Component"], identifier["ID"]) == ("istiod", "istiod-7d4f")
        assert [each.type_url for each in answer.resources] == [
            f"type.googleapis.com/{ClientConfig.DESCRIPTOR.full_name}"
        ]
        shown = ClientConfig.FromString(answer.resources[0].value)
        assert shown.node.id == "app.default"
        assert dict(shown.node.metadata) == {
            "CLUSTER_ID": "Kubernetes",
            "ISTIO_VERSION": "1.27.0",
            "NAMESPACE": "default",
        }
        assert [(each.type_url, each.config_status) for each in shown.generic_xds_configs] == [(CDS, SYNCED)]
        parts = tool.debug("istio.io/debug/config_dump", "app.default").resources
        assert {"ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump"} <= {
            part.type_url.rpartition(".")[2] for part in parts
        }
        (page,) = tool.debug("istio.io/debug", "syncz").resources
        assert json.loads(page.value)[0]["proxy"] == "app.default"


def register(cluster: ApiServer, control_plane: ControlPlane) -> None:
    """Connect a machine twice, as after a moment without network, until nothing is left of it."""
    with (
        Tool(cluster, control_plane.secure, "default") as first,
        Tool(cluster, control_plane.secure, "default") as second,
        first.asking(CDS, AUTO_REGISTER_GROUP="machines"),
        second.asking(CDS, AUTO_REGISTER_GROUP="machines"),
    ):
        assert "auto_registration.connected" in control_plane.said
    control_plane.until(lambda: "auto_registration.removed" in control_plane.said)


def statuses(cluster: ApiServer) -> tuple[bool, bool, bool]:
    """Return whether the status says where the Ingress is reached, and of the ServiceEntry addresses and condition."""
    ingress, entry = (
        json.loads(cluster.kubectl("-n", "default", "get", kind, "web", "-o", "json")).get("status", {})
        for kind in ("ingress", "serviceentry")
    )
    addresses = [each["value"] for each in entry.get("addresses", ())]
    return (
        ingress.get("loadBalancer") == {"ingress": [{"ip": "192.0.2.9"}]},
        [ip_address(text) in pool for text, pool in zip(addresses, POOLS, strict=False)] == [True, True],
        [each["type"] for each in entry.get("conditions", ())] == ["Reconciled"],
    )


def test_what_the_program_writes_to_statuses(audited: ApiServer) -> None:
    assert statuses(audited) == (True, True, True)


def test_no_right_is_missing(audited: ApiServer) -> None:
    assert rights.refused(audited, SYSTEM, ACCOUNT) == set()


def test_no_right_is_idle(audited: ApiServer) -> None:
    assert sorted(rights.unused(audited, SYSTEM, ACCOUNT)) == []
