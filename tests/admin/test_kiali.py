"""What Kiali asks a control plane, decoded as Kiali decodes it.

Source: github.com/kiali/kiali, ``business/control_plane_monitor.go`` (proxy status, by a forwarded port),
``kubernetes/types.go`` (``SyncStatus``), ``business/proxy_status.go`` (``xdsStatus``), ``istio/version.go`` and
``istio/discovery.go``, as of Kiali 2; its module is not offered by Go's proxy, so its types are stated here. Older
ones read ``/debug/registryz`` too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controlplane import ISTIO_VERSION
from controlplane.documents.json_reader import json_value
from tests.admin import world

_DEPLOY = Path(__file__).parents[2] / "deploy" / "base"
_SYNC_STATUS = (
    "Pilot", "cluster_id", "proxy", "proxy_version", "istio_version", "cluster_sent", "cluster_acked", "listener_sent",
    "listener_acked", "route_sent", "route_acked", "endpoint_sent", "endpoint_acked",
)  # fmt: skip
"""The keys of ``SyncStatus``, all of type string; others are passed over."""
_VERSIONS = {
    "OpenShift Service Mesh": r"(?:OSSM_|openshift-service-mesh-)([0-9]+\.[0-9]+\.[0-9]+(?:-tp\.[0-9]+)?)",
    "Istio Snapshot": r"istio-release-([0-9]+\.[0-9]+)(-[0-9]{8})",
    "Istio RC": r"(\d+\.\d+.\d+)-((?:alpha|beta|rc|RC)\.\d+)",
    "Istio Dev": r"(\d+\.\d+)-alpha\.([a-zA-Z0-9]+)-.*|(\d+\.\d+)-dev-([a-zA-Z0-9]+)-.*",
    "Istio": r"([0-9]+\.[0-9]+\.[0-9]+)",
}
"""What tells a product, in the order in which Kiali tries them."""


async def get(path: str, *, ready_only: bool = False, **headers: str) -> bytes:
    async with (
        world.serving(world.sources(), ready_only=ready_only) as address,
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"http://{address}{path}") as response,
    ):
        assert response.status == 200
        return await response.read()


def decoded(element: dict[str, Any]) -> dict[str, str]:
    """Return one ``SyncStatus``, as Go's encoding/json reads it: keys in any case, and no value of another type."""
    known = {name.lower(): name for name in _SYNC_STATUS}
    found = dict.fromkeys(_SYNC_STATUS, "")
    for key, value in element.items():
        if key.lower() in known:
            assert isinstance(value, str), key
            found[known[key.lower()]] = value
    return found


def shown(status: dict[str, str], kind: str) -> str:
    """Return what Kiali shows of one discovery service of a proxy."""
    sent, acked = status[f"{kind}_sent"], status[f"{kind}_acked"]
    if not sent:
        return "NOT_SENT"
    if sent == acked:
        return "Synced"
    return "Stale" if acked else "Stale (Never Acknowledged)"


async def test_the_status_of_each_proxy_is_found_by_cluster_namespace_and_pod() -> None:
    listed = json_value(await get("/debug/syncz"))
    assert isinstance(listed, list)
    found = {}
    for status in map(decoded, listed):
        pod, namespace = status["proxy"].split(".")
        found[status["cluster_id"], namespace, pod] = [
            shown(status, kind) for kind in ("cluster", "endpoint", "listener", "route")
        ]
    assert found == {
        ("Kubernetes", "prod", "api-1"): ["Stale", "NOT_SENT", "Stale", "NOT_SENT"],
        ("Kubernetes", "shop", "web-1"): ["Synced"] * 4,
    }


@pytest.mark.parametrize("host", ["localhost:40000", "istiod.istio-system:15014"])
async def test_the_version_is_that_of_a_released_istio(host: str) -> None:
    """It is asked for through a forwarded port and by the name of the Service."""
    text = (await get("/version", Host=host)).decode()
    product, expression = next(each for each in _VERSIONS.items() if re.search(each[1], text))
    match = re.search(expression, text)
    assert match is not None
    assert (product, match[1]) == ("Istio", ISTIO_VERSION)


async def test_that_it_can_be_reached_is_seen_on_the_port_of_readiness() -> None:
    assert await get("/ready", ready_only=True) == b""


def test_the_control_plane_is_found_by_its_labels_its_ports_and_the_name_of_its_cluster() -> None:
    """A Service and pods with ``app=istiod`` and the revision; a port by name; a variable of the first container."""
    labels = {"app": "istiod", "istio.io/rev": "default"}
    (service,) = yaml.safe_load_all((_DEPLOY / "service.yaml").read_text())
    (deployment,) = yaml.safe_load_all((_DEPLOY / "deployment.yaml").read_text())
    pod = deployment["spec"]["template"]
    assert labels.items() <= service["metadata"]["labels"].items()
    assert labels.items() <= deployment["metadata"]["labels"].items()
    assert labels.items() <= pod["metadata"]["labels"].items()
    ports = {each["name"]: each["port"] for each in service["spec"]["ports"]}
    assert ports["http-monitoring"] == 15014
    container = pod["spec"]["containers"][0]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert (variables["CLUSTER_ID"], variables["CONTROLPLANE_READY_PORT"]) == ("Kubernetes", "8080")
