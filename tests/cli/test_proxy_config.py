"""``proxy-config`` over the dump of a real Envoy, captured in ``config_dump.json``, and beside a running one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.admin.v3.clusters_pb2 import ClusterStatus
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf import json_format

from controlplane.cli.proxy_config.difference import difference
from controlplane.cli.proxy_config.dump import Dump
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.admin import world
from tests.cli import mesh
from tests.cli.command import run

FILES = Path(__file__).parent
DUMP = str(FILES / "config_dump.json")
HOSTS = str(FILES / "clusters.json")

LISTENERS = """\
ADDRESSES PORT  MATCH                                                DESTINATION
0.0.0.0   80    ALL                                                  Route: 80
10.96.0.3 3306  ALL                                                  Cluster: outbound|9080||reviews.shop.svc.cluster.local
0.0.0.0   9080  App: http/1.1,h2c                                    Route: 9080
0.0.0.0   9080  ALL                                                  PassthroughCluster
0.0.0.0   15006 SNI: reviews.shop; Trans: tls; Addr: 10.0.0.0/8:8080 Cluster: inbound|8080||
"""  # noqa: E501 - as wide as the table is
LISTENER_TYPES = """\
ADDRESSES PORT  TYPE
0.0.0.0   80    HTTP
10.96.0.3 3306  TCP
0.0.0.0   9080  HTTP+TCP
0.0.0.0   15006 HTTP
"""
ROUTES = """\
NAME        VHOST NAME                              DOMAINS                               MATCH      VIRTUAL SERVICE
80          blackhole:80                            *                                     /*         404
9080        reviews.shop.svc.cluster.local:9080     reviews, reviews.shop + 1 more...     /exact     reviews.shop
9080        reviews.shop.svc.cluster.local:9080     reviews, reviews.shop + 1 more...     /*
inbound     all                                     *                                     /*
"""
ROUTE_COUNTS = """\
NAME        VIRTUAL HOSTS
80          1
9080        2
inbound     1
"""
CLUSTERS = """\
SERVICE FQDN                       PORT     SUBSET     DIRECTION     TYPE             DESTINATION RULE
                                   8080     -          inbound       STATIC
PassthroughCluster                 -        -          -             ORIGINAL_DST
agent                              -        -          -             STATIC
reviews.shop.svc.cluster.local     9080     -          outbound      EDS
reviews.shop.svc.cluster.local     9080     v2         outbound      EDS              reviews.shop
"""
ENDPOINTS = """\
ENDPOINT           STATUS        OUTLIER CHECK     CLUSTER
10.0.0.6:9080      UNHEALTHY     OK                outbound|9080||reviews.shop.svc.cluster.local
10.0.0.7:9080      HEALTHY       OK                outbound|9080|v2|reviews.shop.svc.cluster.local
10.0.0.7:9080      HEALTHY       OK                outbound|9080||reviews.shop.svc.cluster.local
127.0.0.1:8080     HEALTHY       OK                inbound|8080||
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["listener", "--file", DUMP], LISTENERS, id="listener"),
        pytest.param(["listener", "--file", DUMP, "--no-verbose"], LISTENER_TYPES, id="listener-types"),
        pytest.param(["l", "--file", DUMP], LISTENERS, id="alias"),
        pytest.param(["route", "--file", DUMP], ROUTES, id="route"),
        pytest.param(["route", "--file", DUMP, "--no-verbose"], ROUTE_COUNTS, id="route-counts"),
        pytest.param(["cluster", "--file", DUMP], CLUSTERS, id="cluster"),
        pytest.param(["endpoint", "--file", HOSTS], ENDPOINTS, id="endpoint-of-hosts"),
        pytest.param(["endpoint", "--file", DUMP], ENDPOINTS, id="endpoint-of-load-assignments"),
    ],
)
async def test_table(arguments: list[str], expected: str) -> None:
    result = await run("proxy-config", *arguments)
    assert result.out == expected
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "first_cells"),
    [
        pytest.param(["listener", "--port", "3306"], ["10.96.0.3"], id="listener-port"),
        pytest.param(["listener", "--address", "10.96.0.3"], ["10.96.0.3"], id="listener-address"),
        pytest.param(["listener", "--type", "tcp"], ["10.96.0.3"], id="listener-type"),
        pytest.param(["listener", "--type", "TCP", "--port", "80"], [], id="listener-both"),
        pytest.param(["route", "--name", "80"], ["80"], id="route-name"),
        pytest.param(["cluster", "--fqdn", "reviews.shop"], ["reviews.shop.svc.cluster.local"] * 2, id="cluster-fqdn"),
        pytest.param(["cluster", "--subset", "v2"], ["reviews.shop.svc.cluster.local"], id="cluster-subset"),
        pytest.param(["cluster", "--direction", "inbound"], ["8080"], id="cluster-direction"),
        pytest.param(["cluster", "--port", "8080"], ["8080"], id="cluster-port"),
        pytest.param(["endpoint", "--address", "10.0.0.7"], ["10.0.0.7:9080"] * 2, id="endpoint-address"),
        pytest.param(["endpoint", "--port", "8080"], ["127.0.0.1:8080"], id="endpoint-port"),
        pytest.param(["endpoint", "--cluster", mesh.REVIEWS_V2], ["10.0.0.7:9080"], id="endpoint-cluster"),
        pytest.param(["endpoint", "--status", "unhealthy"], ["10.0.0.6:9080"], id="endpoint-status"),
    ],
)
async def test_filters(arguments: list[str], first_cells: list[str]) -> None:
    result = await run("proxy-config", *arguments, "--file", DUMP)
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == first_cells
    assert result.code == 0


async def test_all_prefixes_every_name() -> None:
    result = await run("proxy-config", "all", "--file", DUMP)
    clusters, listeners, routes, endpoints = result.out.split("\n\n")
    for text, prefix in (
        (clusters, "cluster/"),
        (listeners, "listener/"),
        (routes, "route/"),
        (endpoints, "endpoint/"),
    ):
        heading, *rows = text.splitlines()
        assert heading.startswith("NAME ")
        assert rows
        assert all(row.startswith(prefix) for row in rows)


@pytest.mark.parametrize(("style", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
async def test_as_values(style: str, load: Any) -> None:
    result = await run("pc", "cluster", "--file", DUMP, "--subset", "v2", "-o", style)
    (cluster,) = load(result.out)
    assert cluster["name"] == mesh.REVIEWS_V2
    assert cluster["type"] == "EDS"
    assert "serviceName" in cluster["edsClusterConfig"] or "edsConfig" in cluster["edsClusterConfig"]


@pytest.mark.parametrize(
    ("command", "kind"), [("cluster", Cluster), ("listener", Listener), ("route", RouteConfiguration)]
)
async def test_json_is_what_protobuf_writes(command: str, kind: Any) -> None:
    """As istioctl's, so that what was written for that reads this: a list, camelCase, no type of the whole."""
    result = await run("pc", command, "--file", DUMP, "-o", "json")
    printed = json.loads(result.out)
    assert printed
    assert printed == [json_format.MessageToDict(json_format.ParseDict(each, kind())) for each in printed]


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [(HOSTS, ClusterStatus, "name"), (DUMP, ClusterLoadAssignment, "clusterName")],
    ids=["hosts", "load-assignments"],
)
async def test_json_of_endpoints_is_that_of_their_clusters(file: str, kind: Any, name: str) -> None:
    result = await run("pc", "endpoint", "--file", file, "--address", "10.0.0.7", "-o", "json")
    printed = json.loads(result.out)
    assert [each[name] for each in printed] == [mesh.REVIEWS_V2, mesh.REVIEWS]
    assert printed == [json_format.MessageToDict(json_format.ParseDict(each, kind())) for each in printed]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("{", "is not JSON", id="no-json"),
        pytest.param('{"items": []}', "not a configuration dump of Envoy", id="no-dump"),
        pytest.param("[]", "not a configuration dump of Envoy", id="no-object"),
    ],
)
async def test_a_file_that_is_no_dump(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "dump"
    file.write_text(text)
    result = await run("proxy-config", "cluster", "--file", str(file))
    assert (result.code, result.out) == (1, "")
    assert sentence in result.err


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = await run("proxy-config", "cluster", "--file", str(tmp_path / "none"))
    assert result.code == 1
    assert "cannot be read: No such file" in result.err


async def test_no_envoy() -> None:
    result = await run("proxy-config", "cluster", "--admin", "127.0.0.1:9")
    assert result.code == 1
    assert "The Envoy at 127.0.0.1:9 cannot be reached" in result.err


@asynccontextmanager
async def a_proxy(folder: Path, held: Snapshot) -> AsyncIterator[tuple[str, str]]:
    """Run an Envoy and a monitoring port that thinks it holds a snapshot; give both addresses."""
    binary = mesh.envoy_binary()
    if binary is None:
        pytest.skip("no envoy on the PATH")
    asked = replace(world.sources(world.healthy()), snapshot=lambda _: held)
    with mesh.running_envoy(binary, folder) as admin:
        async with world.serving(asked) as address:
            yield admin, address


async def test_beside_a_running_envoy(tmp_path: Path) -> None:
    """What Envoy made of the resources is what the control plane would send, and both show the same tables."""
    held = mesh.snapshot(tmp_path)
    async with a_proxy(tmp_path, held) as (admin, address):
        both = ["--admin", admin, "--control-plane", address]
        same = await run("proxy-config", "all", "web-1.shop", "--diff", *both)
        envoys = [await run("proxy-config", kind, "web-1.shop", "--admin", admin) for kind in _KINDS]
        ours = [await run("proxy-config", kind, "web-1.shop", "--source", "control-plane", *both) for kind in _KINDS]
        misnamed = await run("proxy-config", "cluster", "other.shop", "--admin", admin)
    assert same.out.splitlines() == ["Clusters Match", "Listeners Match", "Routes Match", "Endpoints Match"]
    assert (same.code, same.err) == (0, "")
    assert [each.out for each in envoys] == [LISTENERS, ROUTES, CLUSTERS, ENDPOINTS]
    static = {"agent", "inbound", "127.0.0.1:8080"}  # first cells of what never came over xDS on its own
    for theirs, own in zip(envoys, ours, strict=True):
        expected = [line.split() for line in theirs.out.splitlines() if line.split()[0] not in static]
        got = [line.split() for line in own.out.splitlines()]
        assert [row for row in got if row[0] != "10.0.0.7:9080"] == [
            row for row in expected if row[0] != "10.0.0.7:9080"
        ]
    assert (misnamed.code, misnamed.out) == (1, "")
    assert f"calls itself {mesh.NODE_ID}, not other.shop" in misnamed.err


def test_virtual_hosts_are_compared_however_they_came() -> None:
    """Envoy calls those that came one by one by the names of their resources; the control plane has them in one."""

    def dump(route_configuration: dict[str, Any]) -> Dump:
        section = {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump"}
        held = [{"route_config": route_configuration}]
        return Dump.of({"configs": [{**section, "dynamic_route_configs": held}]})

    whole = {"name": "unix:///x", "virtual_hosts": [{"name": "b:80"}, {"name": "a/b:80"}]}
    hosts = [{"name": "unix:///x/a%2Fb:80"}, {"name": "unix:///x/b:80"}]
    split = {"name": "unix:///x", "vhds": {"config_source": {"ads": {}}}, "virtual_hosts": hosts}
    assert difference("Routes", dump(whole), dump(split)) == []
    assert [host["name"] for host in dump(split).routes()[0]["virtual_hosts"]] == ["a/b:80", "b:80"]


def test_numbers_are_compared_by_value() -> None:
    """Envoy writes a whole percentage without a fraction, protobuf's own JSON with one."""
    listener = {"active_state": {"listener": {"name": "a", "sampling": {"value": 100.0}}}}
    part = {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [listener]}
    text = json.dumps({"configs": [part]})
    ours, envoys = Dump.of(json.loads(text)), Dump.of(json.loads(text.replace("100.0", "100")))
    assert difference("Listeners", ours, envoys) == []


_KINDS = ("listener", "route", "cluster", "endpoint")


async def test_a_difference_is_shown_and_exits_with_1(tmp_path: Path) -> None:
    held = mesh.snapshot(tmp_path)
    (route,) = [each for each in held.of(ResourceType.ROUTE).values() if each.name == "80"]
    changed = Resource.of(ResourceType.ROUTE, "80", route.body + b"\x12\x07\n\x05extra")  # one more virtual host
    async with a_proxy(tmp_path, held.replacing(8, [changed])) as (admin, address):
        both = ["--admin", admin, "--control-plane", address]
        routes = await run("proxy-config", "route", "web-1.shop", "--diff", *both)
        clusters = await run("proxy-config", "cluster", "web-1.shop", "--diff", *both)
    assert routes.code == 1
    lines = routes.out.splitlines()
    assert lines[:3] == ["Routes Don't Match", "--- Control plane Routes", "+++ Envoy Routes"]
    assert '-                "name": "extra"' in lines
    assert not [line for line in lines[3:] if line.startswith("+")]
    assert (clusters.code, clusters.out) == (0, "Clusters Match\n")


async def test_where_a_cluster_is_named_the_envoy_is_that_of_the_pod(tmp_path: Path) -> None:
    """It is never the one that happens to be on this machine."""
    cluster = ("--kubeconfig", str(tmp_path / "none"))
    nameless = await run("proxy-config", "route", "web", *cluster)
    assert (nameless.code, nameless.out) == (1, "")
    assert "name it as NAME.NAMESPACE" in nameless.err
    hosts = await run("proxy-config", "endpoint", "web.shop", *cluster)
    assert (hosts.code, hosts.out) == (1, "")
    assert str(tmp_path / "none") in hosts.err
