"""The monitoring port, over real HTTP on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from controlplane import ISTIO_VERSION
from controlplane.admin.access import is_loopback, names_this_machine
from controlplane.admin.answers import NOT_CONNECTED
from controlplane.admin.application import DEBUG_ENDPOINTS, NO_PAGE, OTHER_HOST, application
from controlplane.admin.dumps import NO_PROXY_ID
from controlplane.admin.sources import AdminSources
from controlplane.ads.shares import Load
from controlplane.ads.sync_status import ProxyStatus
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.service import Service, ServiceKey
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


@pytest.mark.parametrize(
    ("asked", "path", "answer"),
    [
        pytest.param(world.sources(), "/ready", (200, ""), id="ready"),
        pytest.param(world.unready(), "/ready", (503, "the first list of objects is not complete\n"), id="unready"),
        pytest.param(world.unready(), "/healthz", (200, "ok\n"), id="alive"),
        pytest.param(world.sources(), "/debug/syncz", (404, NO_PAGE), id="nothing-else"),
        pytest.param(world.sources(), "/metrics", (404, NO_PAGE), id="no-metrics"),
    ],
)
async def test_port_of_readiness(asked: AdminSources, path: str, answer: tuple[int, str]) -> None:
    async with (
        world.serving(asked, ready_only=True) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}{path}") as response,
    ):
        assert (response.status, await response.text()) == answer


async def test_version() -> None:
    """Tools that know Istio look for its version first; istioctl takes the two last parts for revision and status."""
    assert await get(world.sources(), "/version") == (200, f"{ISTIO_VERSION}-0.1.0-controlplane")


async def test_load_for_other_replicas() -> None:
    asked = replace(world.sources(), load=lambda: Load(17, 2.5))
    assert await get_json(asked, "/load") == {"replica": "istiod-0", "proxies": 17, "weight": 2.5}
    assert await get(world.unready(), "/load") == (503, "the first list of objects is not complete\n")


@pytest.mark.parametrize("path", ["//version", "///version"])
async def test_doubled_slashes_lead_to_the_same(path: str) -> None:
    """`istioctl version` asks for //version, and Go's servers lead it on."""
    assert await get(world.sources(), path) == (200, f"{ISTIO_VERSION}-0.1.0-controlplane")


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
    assert route == {"status": "NOT SENT", "sentRevision": 0, "ackedRevision": 0}
    (asked,) = await get_json(world.sources(), "/debug/syncz?proxyID=api-1.prod")
    assert asked["resources"][ResourceType.ROUTE.value]["names"] == ["9080"]


async def test_syncz_names_the_objects_behind_a_refused_resource() -> None:
    troubled, _ = await get_json(world.sources(), "/debug/syncz")
    rejection = troubled["resources"][ResourceType.LISTENER.value]["rejection"]
    assert (rejection["version"], rejection["nonce"]) == ("v2", "n2")
    assert rejection["resources"] == [
        {
            "name": "0.0.0.0_9080",
            "objects": [
                {"kind": "Gateway", "group": "networking.istio.io", "namespace": "shop", "name": "edge"},
                {"kind": "VirtualService", "group": "networking.istio.io", "namespace": "shop", "name": "reviews"},
            ],
            "objectCount": 2,
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
            "group": "networking.istio.io",
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


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:15014", True),
        ("127.0.0.1", True),
        ("localhost:9000", True),
        ("LocalHost.", True),
        ("[::1]:15014", True),
        ("::1", True),
        ("attacker.example:15014", False),
        ("localhost.attacker.example", False),
        ("10.0.0.1:15014", False),
        ("127.0.0.1.attacker.example", False),
        ("", False),
        (None, False),
    ],
)
def test_names_this_machine(host: str | None, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    assert names_this_machine(host) is expected


async def test_a_page_that_a_browser_was_led_to_is_refused() -> None:
    """Its host name resolves to this machine, but it is not this machine's: only what anybody may see is answered."""
    async with world.serving(world.sources()) as address, aiohttp.ClientSession() as session:
        for path in ("/debug/syncz", "/debug/config_dump?proxyID=web-1", "/debug/nothing"):
            async with session.get(f"http://{address}{path}", headers={"Host": "attacker.example"}) as response:
                assert (response.status, await response.text()) == (403, OTHER_HOST)
        for path in OPEN:
            async with session.get(
                f"http://{address}{path}", headers={"Host": "istiod.istio-system:15014"}
            ) as response:
                assert response.status == 200


async def test_no_browser_takes_an_answer_for_a_script() -> None:
    async with (
        world.serving(world.sources()) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/debug/syncz") as response,
    ):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.content_type == "application/json"


async def test_the_head_of_a_page_has_no_body() -> None:
    async with world.serving(world.sources()) as address, aiohttp.ClientSession() as session:
        async with session.head(f"http://{address}/debug/syncz") as response:
            assert (response.status, await response.read()) == (200, b"")
        async with session.get(f"http://{address}/debug/syncz") as response:
            assert len(await response.json()) == 2


async def test_half_an_answer_is_not_taken_for_a_whole_one() -> None:
    """A bug of ours in the middle of an answer cuts the connection."""

    def status(connection_id: str) -> ProxyStatus | None:
        if connection_id.startswith("web"):
            raise RuntimeError("a bug")
        return slow(connection_id)

    def slow(connection_id: str) -> ProxyStatus | None:
        time.sleep(0.01)  # so that what was made before it has been sent
        return world.sources().status(connection_id)

    asked = replace(world.sources(), status=status)
    async with world.serving(asked) as address, aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/debug/syncz") as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        async with session.get(f"http://{address}/debug/rejectedz") as response:
            assert response.status == 200


async def test_a_long_list_in_pages() -> None:
    """What comes while somebody turns pages neither hides nor repeats anything else."""
    names = [f"svc-{number:02}" for number in range(10)]

    def services() -> list[Service]:
        one = world.service()
        return [replace(one, key=ServiceKey(f"{name}.shop", one.key.object), name=name) for name in reversed(names)]

    seen: list[list[str]] = []
    async with (
        world.serving(replace(world.sources(), services=services)) as address,
        aiohttp.ClientSession() as session,
    ):
        url: str | URL = f"http://{address}/debug/registryz?limit=4&pretty"
        while url:
            async with session.get(url) as response:
                assert response.status == 200
                seen.append([each["Attributes"]["Name"] for each in await response.json()])
                following = response.links.get("next")
                url = following["url"] if following is not None else ""
            if len(seen) == 1:
                names[:] = ["new-first", *names, "svc-99"]
    assert seen == [names[1:5], names[5:9], names[9:]]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=many", "limit=1e3", "after=x", "after=[1]", "after=[[["]
)
async def test_a_page_that_cannot_be_given(query: str) -> None:
    status, text = await get(world.sources(), f"/debug/syncz?{query}")
    assert status == 400
    assert text.startswith(f"?{query.partition('=')[0]}= is ")


async def test_the_objects_behind_a_refusal_are_told_in_part_and_of_one_proxy_whole() -> None:
    keys = [ObjectKey(kinds.VIRTUAL_SERVICE, "shop", f"vs-{number:03}") for number in range(300)]
    asked = replace(world.sources(), behind=lambda *_: reversed([*keys, *keys]))

    async def objects(path: str) -> tuple[list[str], int]:
        rejection = (await get_json(asked, path))[0]["resources"][ResourceType.LISTENER.value]["rejection"]
        (resource,) = rejection["resources"]
        return [each["name"] for each in resource["objects"]], resource["objectCount"]

    assert await objects("/debug/syncz") == ([key.name for key in keys[:20]], 300)
    assert await objects("/debug/syncz?proxyID=api-1.prod") == ([key.name for key in keys], 300)


async def test_what_is_behind_a_resource_is_looked_up_once_for_all_who_hold_it() -> None:
    troubled = [replace(world.troubled(), connection_id=f"api-{number}") for number in range(50)]
    lookups: list[str] = []

    def behind(connection_id: str, _type: ResourceType, _name: str) -> list[ObjectKey]:
        lookups.append(connection_id)
        return [world.REVIEWS]

    shown = await get_json(replace(world.sources(*troubled), behind=behind), "/debug/syncz")
    assert len(shown) == 50
    assert len(lookups) == 1


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


async def test_explain_hands_the_question_on_and_a_wrong_one_back() -> None:
    answer = await get_json(world.sources(), "/debug/explain?from=pod/shop/web&url=http://a/%3Fb&header=x:1&header=y:2")
    assert answer == {"asked": [["from", "pod/shop/web"], ["url", "http://a/?b"], ["header", "x:1"], ["header", "y:2"]]}
    assert await get(world.sources(), "/debug/explain?from=pod/shop/web") == (400, "url is needed\n")
    assert (await get(world.unready(), "/debug/explain?url=x"))[0] == 503


@pytest.mark.parametrize(
    ("asked", "body", "kind", "expected"),
    [
        pytest.param(world.sources(), b'{"prune": true}', "application/json", (200, '{"prune": true}'), id="answered"),
        pytest.param(world.sources(), b"{}", "application/json", (400, "nothing changes\n"), id="wrong"),
        pytest.param(
            world.sources(), b"[]", "application/json", (503, "The answer took longer than 60 s.\n"), id="late"
        ),
        pytest.param(world.sources(), b"{}", "text/plain", (415, "must be application/json"), id="of-a-web-page"),
        pytest.param(world.unready(), b"{}", "application/json", (503, ""), id="not-ready"),
    ],
)
async def test_plan_hands_the_question_on(
    asked: AdminSources, body: bytes, kind: str, expected: tuple[int, str]
) -> None:
    async with (
        world.serving(asked) as address,
        aiohttp.ClientSession() as session,
        session.post(f"http://{address}/debug/plan", data=body, headers={"Content-Type": kind}) as response,
    ):
        assert response.status == expected[0]
        assert expected[1] in await response.text()


async def test_an_object_is_asked_about_as_a_change_is() -> None:
    answer = await get_json(world.sources(), "/debug/explain?object=vs/shop/web&patches=1")
    assert answer == {"explain": "vs/shop/web", "patches": True}
