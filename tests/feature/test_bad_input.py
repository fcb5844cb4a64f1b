"""Bad files over the wire: the bad object keeps its last good version, the rest of the mesh keeps every byte."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.cli.command import run
from tests.feature.client import CDS, RDS, Client, Held, connected
from tests.feature.markers import barrier, without_markers
from tests.feature.objects import CART, GOOD, MESH, NETWORKING, PORT, cluster, manifest, marker, to, virtual_service
from tests.feature.server import Server, serving

CASE = "case.yaml"
KEY = ("VirtualService", "cart")
UNREADABLE = ("", "")
MEGABYTES = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("config"), *MESH) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(server: Server) -> Iterator[None]:
    """Leave only the mesh behind."""
    yield
    for path in server.folder.iterdir():
        if path.name != "mesh.yaml":
            path.unlink()


def retries(client: Client) -> int:
    """Return what the good VirtualService asks for; 2 is what Envoy is told without it."""
    for host in client.message(RDS, str(PORT)).virtual_hosts:
        if CART in host.domains:
            return int(host.routes[0].route.retry_policy.num_retries.value)
    return 0


def has_route_configuration(client: Client) -> bool:
    return client.has(RDS, str(PORT))


async def made_good(server: Server, client: Client) -> Held:
    """Put the good version in place and return what the proxy holds then."""
    server.write(CASE, GOOD)
    await client.until(lambda: has_route_configuration(client) and retries(client) == 7, "the good version")
    return client.copy()


@dataclass(frozen=True)
class Case:
    """Text that replaces the good version, whom the refusal names, and a part of the reason it gives."""

    text: Any
    key: tuple[str, str]
    reason: str


def spoilt(*rules: Any, **spec: Any) -> Any:
    return virtual_service(*rules, **spec)


def without_hosts() -> Any:
    obj = virtual_service({"route": [to("v1")]}, gateways=["mesh"])
    del obj["spec"]["hosts"]
    return obj


#: written out by hand: the YAML library takes a minute to wrap a line of ten megabytes
LONG_HOST = yaml.safe_dump(spoilt({"route": [to("v1")]}, hosts=["LONG"])).replace("LONG", "c" * 10 * MEGABYTES)
CASES = {
    "not-yaml": Case("kind: [VirtualService\nmetadata: }{", UNREADABLE, "not readable"),
    "no-hosts": Case(without_hosts(), KEY, "no hosts"),
    "weights-sum-to-0": Case(
        spoilt({"route": [to("v1", weight=0), to("v1", weight=0)]}), KEY, "sum of weights must not be 0"
    ),
    "regex-re2-rejects": Case(
        spoilt({"match": [{"uri": {"regex": "(?=a)b"}}], "route": [to("v1")]}), KEY, "spec.http[0].match[0].uri"
    ),
    "duplicate-hosts": Case(spoilt({"route": [to("v1")]}, hosts=["cart", "cart"]), KEY, "duplicate hosts"),
    "port-70000": Case(spoilt({"route": [{"destination": {"host": "cart", "port": {"number": 70000}}}]}), KEY, "70000"),
    "10-megabytes-of-yaml": Case(LONG_HOST, KEY, "larger than"),
    "10-megabytes-of-nesting": Case("[" * 10 * MEGABYTES, UNREADABLE, "nested deeper"),
    "binary-garbage": Case(random.Random(7).randbytes(100_000), UNREADABLE, "UTF-8"),
    "binary-garbage-in-ascii": Case(bytes(range(32)) * 100, UNREADABLE, "not readable"),
    "empty-object": Case(manifest(NETWORKING, "VirtualService", "cart", spec={}), KEY, "http, tcp or tls must be set"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_last_good_version_stays(server: Server, case: Case) -> None:
    async with connected(server.xds) as client:
        before = await made_good(server, client)
        since = len(server.events)
        server.write(CASE, case.text)
        refused = await server.event("registry.rejected", since)
        await barrier(server, client)
        problems = await server.problems()
        assert without_markers(client.copy()) == without_markers(before)
        assert case.reason in " ".join(problems[case.key])
        assert refused["object"] == ("VirtualService shop/cart" if case.key == KEY else None)
        assert server.process.poll() is None
        server.write(CASE, virtual_service({"route": [to("v1")], "retries": {"attempts": 5}}))
        await client.until(lambda: retries(client) == 5, "the next good version")
        assert await server.problems() == {}


async def test_a_refusal_does_not_repeat_megabytes(server: Server) -> None:
    since = len(server.events)
    server.write(CASE, LONG_HOST)
    refused = await server.event("registry.rejected", since)
    assert len(str(refused)) < 10_000


NEW = {
    "not-yaml": Case(CASES["not-yaml"].text, UNREADABLE, "not readable"),
    "binary-garbage": Case(CASES["binary-garbage"].text, UNREADABLE, "UTF-8"),
    "name-of-300-characters": Case(
        virtual_service({"route": [to("v1")]}, name="n" * 300), ("VirtualService", "n" * 254), "at most 253"
    ),
    "no-hosts": Case(
        without_hosts() | {"metadata": {"name": "new", "namespace": "shop"}}, ("VirtualService", "new"), "no hosts"
    ),
    "service-port-70000": Case(
        manifest("v1", "Service", "new", spec={"ports": [{"name": "http", "port": 70000}]}),
        ("Service", "new"),
        "65535",
    ),
    "gateway-api-group-typo": Case(
        manifest(NETWORKING, "VirtualServices", "new", spec={}), ("VirtualServices", "new"), "has no VirtualServices"
    ),
}


@pytest.mark.parametrize("case", NEW.values(), ids=NEW)
async def test_new_bad_object_changes_nothing(server: Server, case: Case) -> None:
    async with connected(server.xds) as client:
        before = await made_good(server, client)
        since = len(server.events)
        server.write("new.yaml", case.text)
        await server.event("registry.rejected", since)
        await barrier(server, client)
        problems = await server.problems()
    assert without_markers(client.copy()) == without_markers(before)
    assert case.reason in " ".join(problems[case.key])


async def test_bad_object_beside_good_ones_in_one_file(server: Server) -> None:
    async with connected(server.xds) as client:
        before = await made_good(server, client)
        since = len(server.events)
        bad = virtual_service({"route": [to("v1")]}, name="n" * 300)
        server.write(CASE, bad, marker(9999), GOOD)
        await server.event("registry.rejected", since)
        await client.until(lambda: client.has(CDS, cluster("marker-9999.test", port=7000)), "the good one beside it")
        await barrier(server, client)
    assert without_markers(client.copy()) == without_markers(before)


async def test_unknown_kind_is_counted_and_named_once(server: Server) -> None:
    async with connected(server.xds) as client:
        before = await made_good(server, client)
        kinds: Sequence[Any] = [manifest("example.com/v1", "Teapot", name, spec={}) for name in ("one", "two")]
        server.write("unknown.yaml", *kinds)
        event = await server.event("watchers.kind_unused", kind="Teapot.example.com")
        server.write("more.yaml", manifest("example.com/v1", "Teapot", "three", spec={}))
        await barrier(server, client)
        assert without_markers(client.copy()) == without_markers(before)
        assert await server.problems() == {}
    assert event["count"] == 2
    assert len(server.logged("watchers.kind_unused")) == 1


async def test_unknown_field_is_a_warning_and_the_rest_is_used(server: Server) -> None:
    async with connected(server.xds) as client:
        await made_good(server, client)
        rule = {"route": [to("v1")], "retries": {"attempts": 6, "backOff": "1s"}, "mood": "good"}
        server.write(CASE, virtual_service(rule))
        await client.until(lambda: retries(client) == 6, "what is known of the object")
        status, listed = await server.get("/debug/configz")
        shown = await server.problems()  # a misspelled weight moves all traffic: status must not look clean
        assert [len(problems) for problems in shown.values()] == [2]
    (held,) = [obj for obj in listed if obj["kind"] == "VirtualService"]
    assert (status, held["metadata"]["name"]) == (200, "cart")
    assert held["spec"]["http"][0]["retries"] == {"attempts": 6}, "what is in force, without what is not known"
    warned = await server.events_of("watchers.warned", 2, object="VirtualService shop/cart")
    assert {"mood", "backOff"} <= {word.strip("'\":") for event in warned for word in _words(event["problem"])}


def _words(text: str) -> list[str]:
    return [word for part in text.split() for word in part.split(".")]


async def test_missing_subset_is_kept_and_named_in_log_and_status(server: Server) -> None:
    async with connected(server.xds) as client:
        before = await made_good(server, client)
        server.write(CASE, virtual_service({"route": [to("v1", weight=1), to("v9", weight=1)]}))
        await client.until(lambda: cluster(CART, "v9") in _named_clusters(client), "the route to the missing subset")
        event = await server.event("registry.finding", object="VirtualService shop/cart")
        problems = await server.problems()
        status = await run("status", "--address", server.monitoring)
        assert not client.has(CDS, cluster(CART, "v9"))
        assert without_markers(client.copy())[CDS] == without_markers(before)[CDS]
        await barrier(server, client)
        assert len(server.logged("registry.finding")) == 1
        rule = {"host": "cart", "subsets": [{"name": "v9", "labels": {"version": "v9"}}]}
        server.write("rule.yaml", manifest(NETWORKING, "DestinationRule", "cart-v9", spec=rule))
        await client.until(lambda: client.has(CDS, cluster(CART, "v9")), "the cluster, once a rule names the subset")
        assert await server.problems() == {}
    path = "spec.http[0].route[1].destination.subset"
    assert event["path"] == path
    assert "503" in event["reason"]
    assert [text.partition(": ")[0] for text in problems[KEY]] == [path]
    assert status.code == 0
    assert "1 object has problems:" in status.err
    assert path in status.err


def _named_clusters(client: Client) -> set[str]:
    return {
        named.name
        for host in client.message(RDS, str(PORT)).virtual_hosts
        for route in host.routes
        for named in route.route.weighted_clusters.clusters
    }


async def test_field_that_nothing_translates_is_counted_and_named_once(server: Server) -> None:
    async with connected(server.xds) as client:
        await made_good(server, client)
        policy = {"outlierDetection": {"consecutiveErrors": 5}}
        rule = {"host": "reviews", "trafficPolicy": policy, "subsets": [{"name": "v4"}]}
        server.write(CASE, GOOD, manifest(NETWORKING, "DestinationRule", "reviews", spec=rule))
        address = {"template": {"address": "10.0.0.1"}}
        server.write("group.yaml", manifest(NETWORKING, "WorkloadGroup", "all", spec=address))
        subset = cluster("reviews.shop.svc.cluster.local", "v4")
        await client.until(lambda: client.has(CDS, subset) and client.complete, "the rest of the object")
        await server.event("registry.field_not_translated", kind="WorkloadGroup", field="spec.template.address")
        server.write("more.yaml", manifest(NETWORKING, "WorkloadGroup", "more", spec=address))
        await barrier(server, client)
    events = await server.events_of("registry.field_not_translated", 2)
    named = [(event["kind"], event["field"], event["count"]) for event in events]
    path = "spec.trafficPolicy.outlierDetection.consecutiveErrors"
    assert sorted(named) == [("DestinationRule", path, 1), ("WorkloadGroup", "spec.template.address", 1)]
