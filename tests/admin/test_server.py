"""The monitoring port, over real HTTP on loopback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controlplane.admin.application import (
    DEBUG_ENDPOINTS,
    NO_PAGE,
    NO_PROXY_ID,
    NOT_CONNECTED,
    application,
    is_loopback,
)
from controlplane.admin.sources import AdminSources
from controlplane.snapshots import ResourceType
from tests.admin import world

OPEN = {"/ready", "/metrics", "/version", "/debug"}


async def get(asked: AdminSources, path: str) -> tuple[int, str]:
    async with (
        world.serving(asked) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}{path}") as response,
    ):
        return response.status, await response.text()


async def get_json(asked: AdminSources, path: str) -> Any:
    async with (
        world.serving(asked) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}{path}") as response,
    ):
        assert response.status == 200
        return await response.json()


async def test_ready_when_proxies_are_served() -> None:
    assert await get(world.sources(), "/ready") == (200, "")


async def test_not_ready_says_why() -> None:
    assert await get(world.unready(), "/ready") == (503, "the first list of objects is not complete\n")


async def test_alive_although_not_ready() -> None:
    assert await get(world.unready(), "/healthz") == (200, "ok\n")


async def test_version() -> None:
    assert await get(world.sources(), "/version") == (200, "0.1.0")


@pytest.mark.parametrize("path", ["//version", "///version"])
async def test_doubled_slashes_lead_to_the_same(path: str) -> None:
    """`istioctl version` asks for //version, and Go's servers lead it on."""
    assert await get(world.sources(), path) == (200, "0.1.0")


@pytest.mark.parametrize("path", ["/debug/nothing", "/nothing", "//nothing"])
async def test_a_page_that_is_not_there(path: str) -> None:
    """By these words `istioctl x internal-debug` knows to show the list."""
    assert await get(world.sources(), path) == (404, NO_PAGE)


async def test_the_list_names_every_other_page() -> None:
    listed = await get_json(world.sources(), "/debug/list")
    assert listed == sorted(listed)
    assert {f"/debug/{name}" for name in listed} == DEBUG_ENDPOINTS.keys() - {"/debug/list"}


@pytest.mark.parametrize(("sources", "state"), [(world.sources, "synced"), (world.unready, "syncing")])
async def test_clusterz_names_the_one_that_is_read(sources: Callable[[], AdminSources], state: str) -> None:
    listed = [{"id": "Kubernetes", "secretName": "", "syncStatus": state}]
    assert await get_json(sources(), "/debug/clusterz") == listed


async def test_syncz_has_istiods_shape_and_our_keys() -> None:
    troubled, healthy = await get_json(world.sources(), "/debug/syncz")
    assert (troubled["proxy"], healthy["proxy"]) == ("api-1.prod", "web-1.shop")
    assert healthy["cluster_id"] == "Kubernetes"
    assert healthy["proxy_type"] == "sidecar"
    assert healthy["istio_version"] == "1.27.0"
    assert "istio_version" not in troubled
    assert (healthy["cluster_sent"], healthy["cluster_acked"]) == ("n2", "n2")
    assert "extensionconfig_sent" not in healthy
    assert "route_sent" in healthy
    assert healthy["control_plane"] == "istiod-0"
    listener = troubled["resources"][ResourceType.LISTENER.value]
    assert (listener["sent"], listener["acked"], listener["status"]) == ("n2", "n1", "ERROR")
    assert (listener["sentRevision"], listener["ackedRevision"]) == (7, 6)
    assert listener["lastError"] == world.REFUSAL
    route = troubled["resources"][ResourceType.ROUTE.value]
    assert route == {"status": "NOT SENT", "sentRevision": 0, "ackedRevision": 0, "names": ["9080"]}


async def test_syncz_names_the_objects_behind_a_refused_resource() -> None:
    troubled, _ = await get_json(world.sources(), "/debug/syncz")
    rejection = troubled["resources"][ResourceType.LISTENER.value]["rejection"]
    assert (rejection["version"], rejection["nonce"]) == ("v2", "n2")
    assert rejection["resources"] == [
        {
            "name": "0.0.0.0_9080",
            "objects": [
                {"kind": "Gateway", "namespace": "shop", "name": "edge"},
                {"kind": "VirtualService", "namespace": "shop", "name": "reviews"},
            ],
        }
    ]


async def test_syncz_of_one_namespace() -> None:
    assert [each["proxy"] for each in await get_json(world.sources(), "/debug/syncz?namespace=prod")] == ["api-1.prod"]


async def test_connections() -> None:
    answer = await get_json(world.sources(), "/debug/connections")
    assert answer["totalClients"] == 2
    assert [each["connectionId"] for each in answer["clients"]] == ["api-1.prod-3", "web-1.shop-3"]
    assert all(each["connectedAt"].endswith("Z") for each in answer["clients"]), "as everywhere else"


async def test_adsz_adds_what_proxies_subscribe_to() -> None:
    answer = await get_json(world.sources(), "/debug/adsz")
    assert [each["connectionId"] for each in answer["clients"]] == ["api-1.prod-3", "web-1.shop-3"]
    asked = await get_json(world.sources(), "/debug/adsz?proxyID=api-1.prod")
    (troubled,) = asked["clients"]
    assert asked["totalClients"] == 1
    assert troubled["watches"] == {
        ResourceType.CLUSTER.value: [],
        ResourceType.LISTENER.value: [],
        ResourceType.ROUTE.value: ["9080"],
    }
    assert troubled["locality"] == {"region": "", "zone": "", "sub_zone": ""}
    assert {"labels", "metadata", "address", "connectedAt"} < troubled.keys()


async def test_registryz() -> None:
    (service,) = await get_json(world.sources(), "/debug/registryz")
    assert service["hostname"] == "reviews.shop.svc.cluster.local"
    assert service["ports"] == [{"name": "http", "port": 9080, "protocol": "HTTP"}]
    assert service["clusterVIPs"] == {"Addresses": {"Kubernetes": ["10.96.0.9"]}}
    assert service["Attributes"]["ExportTo"] == {"*": {}}
    assert service["Attributes"]["LabelSelectors"] == {"app": "reviews"}
    assert (service["Resolution"], service["MeshExternal"]) == (0, False)


@pytest.mark.parametrize("path", ["/debug/endpointz", "/debug/endpointShardz"])
async def test_endpoints(path: str) -> None:
    shop = (await get_json(world.sources(), path))["reviews.shop.svc.cluster.local"]["shop"]
    assert shop["ServiceAccounts"] == {"spiffe://cluster.local/ns/shop/sa/reviews": {}}
    (endpoint,) = shop["Shards"]["Kubernetes/Kubernetes"]
    assert (endpoint["Addresses"], endpoint["EndpointPort"], endpoint["HealthStatus"]) == (["10.0.0.7"], 9080, 1)
    assert endpoint["Locality"] == {"Label": "r1/z1/", "ClusterID": "Kubernetes"}


async def test_rejectedz() -> None:
    assert await get_json(world.sources(), "/debug/rejectedz") == [
        {
            "kind": "VirtualService",
            "namespace": "shop",
            "name": "reviews",
            "problems": ["spec.http[0]: no destination"],
            "source": "shop.yaml:12",
        }
    ]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        pytest.param("/debug/config_dump", 400, NO_PROXY_ID, id="no-proxy-id"),
        pytest.param("/debug/config_dump?proxyID=gone.shop", 404, NOT_CONNECTED, id="not-connected"),
        pytest.param("/debug/edsz", 400, NO_PROXY_ID, id="no-proxy-id-of-edsz"),
        pytest.param("/debug/adsz?proxyID=gone.shop", 404, NOT_CONNECTED, id="not-connected-of-adsz"),
        pytest.param(
            "/debug/config_dump?proxyID=web-1.shop&types=CDS,XDS",
            400,
            "?types= may name CDS, EDS, LDS, RDS, SDS, ECDS, and not CDS, XDS\n",
            id="unknown-type",
        ),
    ],
)
async def test_config_dump_that_cannot_be_given(path: str, status: int, text: str) -> None:
    assert await get(world.sources(), path) == (status, text)


async def test_config_dump_of_a_proxy_without_a_snapshot() -> None:
    asked = replace(world.sources(), snapshot=lambda _: None)
    status, text = await get(asked, "/debug/config_dump?proxyID=web-1.shop")
    assert (status, text) == (404, "Nothing has been compiled for this proxy yet.\n")


async def test_config_dump_by_a_part_of_the_connection_id() -> None:
    dump = await get_json(world.sources(), "/debug/config_dump?proxyID=web-1&types=lds")
    (section,) = dump["configs"]
    assert section["@type"].endswith("ListenersConfigDump")
    assert [each["name"] for each in section["dynamic_listeners"]] == ["0.0.0.0_9080"]


async def test_config_dump_has_endpoints_when_asked() -> None:
    async def kinds(path: str) -> list[str]:
        dump = await get_json(world.sources(), path)
        return [section["@type"].rpartition(".")[2] for section in dump["configs"]]

    without = await kinds("/debug/config_dump?proxyID=web-1.shop")
    assert "EndpointsConfigDump" not in without
    assert "ClustersConfigDump" in without
    assert "EndpointsConfigDump" in await kinds("/debug/config_dump?proxyID=web-1.shop&include_eds")
    assert await kinds("/debug/edsz?proxyID=web-1.shop") == ["EndpointsConfigDump"]
    assert await kinds("/debug/ecdsz?proxyID=web-1.shop") == ["EcdsConfigDump"]


async def test_pretty() -> None:
    _, plain = await get(world.sources(), "/debug/rejectedz")
    _, pretty = await get(world.sources(), "/debug/rejectedz?pretty")
    assert "\n" not in plain.strip()
    assert '\n        "kind"' in pretty


async def test_index_lists_every_endpoint() -> None:
    _, text = await get(world.sources(), "/debug")
    assert all(path in text for path in DEBUG_ENDPOINTS)


async def test_callers_that_are_not_on_loopback_get_no_debug(tmp_path: Path) -> None:
    """A Unix socket's caller has no address: it is not on loopback."""
    runner = web.AppRunner(application(world.sources()))
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "admin")).start()
    connector = aiohttp.UnixConnector(str(tmp_path / "admin"))
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            statuses = {}
            for path in [*OPEN, "/debug/nothing", "//debug/syncz", *DEBUG_ENDPOINTS]:
                async with session.get(f"http://admin{path}") as response:
                    statuses[path] = response.status
    finally:
        await runner.cleanup()
    open_to_all = {path for path, status in statuses.items() if status == 200}
    assert open_to_all == OPEN
    assert {status for path, status in statuses.items() if path not in open_to_all} == {401}


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        (None, False),
    ],
)
def test_is_loopback(peer: str | None, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_loopback(peer) is expected


async def test_an_error_of_ours_is_a_500_and_leaves_the_others_working() -> None:
    def broken() -> list[Any]:
        raise RuntimeError("a bug")

    async with world.serving(replace(world.sources(), services=broken)) as address, aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/debug/registryz") as response:
            assert response.status == 500
            assert "a bug" not in await response.text()
        async with session.get(f"http://{address}/debug/rejectedz") as response:
            assert response.status == 200


async def test_metrics_by_istiods_names() -> None:
    _, page = await get(world.sources(), "/metrics")
    lines = page.splitlines()
    assert "pilot_services 1.0" in lines
    assert 'pilot_xds{version="1.27.0"} 1.0' in lines
    assert 'pilot_xds{version="unknown"} 1.0' in lines
    assert any(line.startswith("istiod_uptime_seconds ") for line in lines)
    assert any(line.startswith("process_cpu_seconds_total ") for line in lines)
