"""``controlplane x workload``: a WorkloadGroup from options, and the files of a machine."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controlplane.install.machines import Choices, MachineError, Surroundings, files, workload_group
from tests.cli.command import run


async def test_a_group_from_options() -> None:
    options = ("--name", "db", "-n", "shop", "--labels", "app=db,version=v1", "--ports", "tcp=3306", "-s", "dba")
    result = await run("x", "workload", "group", "create", *options)
    assert result.code == 0
    group = yaml.safe_load(result.out)
    assert group["metadata"] == {"name": "db", "namespace": "shop"}
    assert group["spec"] == {
        "metadata": {"labels": {"app": "db", "version": "v1"}},
        "template": {"ports": {"tcp": 3306}, "serviceAccount": "dba"},
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("group", "create", "--name", "db"), "give --name and --namespace"),
        (("group", "create", "--name", "db", "-n", "a", "--labels", "app"), "'app' is not KEY=VALUE"),
        (("group", "create", "--name", "db", "-n", "a", "--ports", "tcp=0"), "'0' is no port"),
        (("entry", "configure", "-o", "x"), "give -o, and -f or --name and --namespace"),
        (("entry", "configure", "-o", "x", "-f", "y", "--ingressIP", "here"), "'here' is no IP address"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], reason: str) -> None:
    result = await run("workload", *arguments)
    assert result.code == 2
    assert reason in " ".join(result.err.split())


def made(choices: Choices, mesh: dict[str, Any] | None = None, **template: Any) -> dict[str, str]:
    group = workload_group("db", "shop", {"labels": {"app": "mysql"}, **template})
    group["spec"]["probe"] = {"tcpSocket": {"port": 3306}}
    return files(group, choices, Surroundings(mesh or {}, "roots", "token"))


def test_the_files_of_a_machine() -> None:
    found = made(Choices("east", ingress="192.0.2.1", auto_register=True), ports={"tcp": 3306}, serviceAccount="dba")
    assert (found["root-cert.pem"], found["istio-token"]) == ("roots", "token")
    assert found["hosts"] == "192.0.2.1 istiod.istio-system.svc\n"
    config = yaml.safe_load(found["mesh.yaml"])["defaultConfig"]
    assert config["discoveryAddress"] == "istiod.istio-system.svc:15012"
    assert config["readinessProbe"] == {"tcpSocket": {"port": 3306}}
    assert config["proxyMetadata"] == {
        "CANONICAL_SERVICE": "mysql",
        "CANONICAL_REVISION": "latest",
        "POD_NAMESPACE": "shop",
        "SERVICE_ACCOUNT": "dba",
        "TRUST_DOMAIN": "cluster.local",
        "ISTIO_META_AUTO_REGISTER_GROUP": "db",
        "ISTIO_META_CLUSTER_ID": "east",
        "ISTIO_META_DNS_CAPTURE": "true",
        "ISTIO_META_POD_PORTS": '[{"name": "tcp", "containerPort": 3306}]',
        "ISTIO_META_WORKLOAD_NAME": "db",
        "ISTIO_METAJSON_LABELS": '{"app": "mysql"}',
    }
    assert found["cluster.env"].splitlines() == [
        "CA_ADDR=istiod.istio-system.svc:15012",
        "ISTIO_INBOUND_PORTS=3306",
        "ISTIO_LOCAL_EXCLUDE_PORTS=22,15090,15021,15020",
        "ISTIO_NAMESPACE=shop",
        "ISTIO_SERVICE=db.shop",
        "ISTIO_SERVICE_CIDR='*'",
        "SERVICE_ACCOUNT=dba",
    ]


def test_a_revision_and_the_mesh_configuration_say_where_the_control_plane_is() -> None:
    canary = made(Choices(revision="canary", external_ip="192.0.2.9", captures_dns=False))
    assert "CA_ADDR=istiod-canary.istio-system.svc:15012\n" in canary["cluster.env"]
    assert "ISTIO_SVC_IP=192.0.2.9\n" in canary["cluster.env"]
    assert canary["hosts"] == ""
    mesh = {"defaultConfig": {"discoveryAddress": "cp.test:443", "proxyMetadata": {"A": "b"}}, "trustDomain": "td"}
    metadata = yaml.safe_load(made(Choices(revision="canary"), mesh)["mesh.yaml"])["defaultConfig"]["proxyMetadata"]
    assert (metadata["A"], metadata["TRUST_DOMAIN"]) == ("b", "td")
    assert "CA_ADDR=cp.test:443\n" in made(Choices(), mesh)["cluster.env"]


def test_a_group_without_a_namespace() -> None:
    with pytest.raises(MachineError, match=r"needs metadata\.name and metadata\.namespace"):
        files({"metadata": {"name": "db"}}, Choices(), Surroundings())
