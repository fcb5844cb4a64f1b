"""The bootstrap: what the node says, what is static, and that a stock Envoy takes every form of it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.binary import envoy_binary
from controlplane.agent.bootstrap import Bootstrap, bootstrap, node, workload
from controlplane.model.proxy import Locality

pytestmark = pytest.mark.slow

CONTROL_PLANE = TcpAddress("127.0.0.1", 15010)
SECRETS = Path("/run/sds.sock")
SIDECAR = workload("sidecar", "web-1", "shop", "10.0.0.7", labels={"app": "web"}, metadata={"HTTP_PROXY_PORT": "15080"})


def test_node_says_who_it_is() -> None:
    """Id, namespace, labels and addresses are what a control plane reads; further metadata goes as given."""
    assert node(SIDECAR) == {
        "id": "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local",
        "cluster": "web.shop",
        "metadata": {
            "NAMESPACE": "shop",
            "NAME": "web-1",
            "LABELS": {"app": "web"},
            "CLUSTER_ID": "Kubernetes",
            "INSTANCE_IPS": "10.0.0.7",
            "HTTP_PROXY_PORT": "15080",
        },
    }


def test_node_of_a_proxy_with_everything() -> None:
    """Optional parts appear when they are known; a stock Envoy states no ISTIO_VERSION."""
    full = replace(
        SIDECAR,
        ips=("10.0.0.7", "fd00::7"),
        locality=Locality("eu", "eu-a", "rack1"),
        network="east",
        istio_version="1.30.0",
        static_labels={"team": "a"},
    )
    got = node(full)
    assert got["locality"] == {"region": "eu", "zone": "eu-a", "sub_zone": "rack1"}
    assert got["metadata"]["INSTANCE_IPS"] == "10.0.0.7,fd00::7"
    assert (got["metadata"]["NETWORK"], got["metadata"]["ISTIO_VERSION"]) == ("east", "1.30.0")
    assert got["metadata"]["STATIC_LABELS"] == {"team": "a"}
    assert "ISTIO_VERSION" not in node(SIDECAR)["metadata"]


def test_node_needs_an_address() -> None:
    with pytest.raises(ValueError, match=r"web-1\.shop has no address"):
        node(replace(SIDECAR, ips=()))


def test_listeners_that_would_clash_can_be_moved_or_left_out() -> None:
    moved = bootstrap(SIDECAR, Bootstrap(CONTROL_PLANE, SECRETS, health=TcpAddress("127.0.0.1", 25021), metrics=None))
    assert [listener["name"] for listener in moved["static_resources"]["listeners"]] == ["127.0.0.1_25021"]
    none = bootstrap(SIDECAR, Bootstrap(CONTROL_PLANE, SECRETS, health=None, metrics=None))
    assert none["static_resources"]["listeners"] == []
    assert [cluster["name"] for cluster in none["static_resources"]["clusters"]] == ["xds-grpc", "sds-grpc"]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Bootstrap(CONTROL_PLANE, SECRETS), id="defaults"),
        pytest.param(Bootstrap(CONTROL_PLANE, SECRETS, delta=False), id="state-of-the-world"),
        pytest.param(Bootstrap(TcpAddress("istiod.example", 15010), TcpAddress("::1", 1)), id="dns-name"),
        pytest.param(Bootstrap(CONTROL_PLANE, SECRETS, admin=Path("/run/admin.sock")), id="admin-on-unix-socket"),
        pytest.param(
            Bootstrap(
                CONTROL_PLANE, SECRETS, extra_clusters=({"name": "zipkin", "type": "STATIC", "connect_timeout": "1s"},)
            ),
            id="extra-cluster",
        ),
    ],
)
def test_a_stock_envoy_takes_it(settings: Bootstrap, tmp_path: Path) -> None:
    """Every form passes Envoy's own validation, without an unknown field."""
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(bootstrap(SIDECAR, settings)))
    result = subprocess.run(
        [str(envoy_binary()), "--mode", "validate", "-c", str(path), "-l", "warning"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "[warning]" not in result.stderr


def test_delta_is_the_default() -> None:
    def api_type(settings: Bootstrap) -> str:
        return str(bootstrap(SIDECAR, settings)["dynamic_resources"]["ads_config"]["api_type"])

    assert api_type(Bootstrap(CONTROL_PLANE, SECRETS)) == "DELTA_GRPC"
    assert api_type(Bootstrap(CONTROL_PLANE, SECRETS, delta=False)) == "GRPC"
