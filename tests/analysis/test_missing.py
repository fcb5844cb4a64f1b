"""What a running control plane finds that is not there is what ``analyze`` finds of the same objects."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.analysis import codes
from controlplane.analysis.findings import Finding, findings, without_connected
from controlplane.analysis.of_registry import between_objects
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from tests.feature.objects import NETWORKING, Json, manifest, service
from tests.wiring.test_analysis import parsed

CODES = {codes.NOT_FOUND.id, codes.HOST_NOT_IN_GATEWAY.id}
POD = manifest("v1", "Pod", "edge", "edges")
POD["metadata"]["labels"] = {"istio": "edge"}
EDGE = manifest(
    NETWORKING,
    "Gateway",
    "edge",
    spec={
        "selector": {"istio": "edge"},
        "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*.example.com"]}],
    },
)


def entry(*hosts: str, **spec: Any) -> Json:
    ports = [{"number": 443, "name": "tls", "protocol": "TLS"}]
    return manifest(
        NETWORKING,
        "ServiceEntry",
        "out",
        "other",
        spec={"hosts": list(hosts), "ports": ports, "resolution": "DNS", **spec},
    )


def leads(host: str, port: int = 0, **spec: Any) -> Json:
    destination: Json = {"host": host} | ({"port": {"number": port}} if port else {})
    held = {"hosts": ["a.example.com"], "http": [{"route": [{"destination": destination}]}], **spec}
    return manifest(NETWORKING, "VirtualService", "leads", spec=held)


def registry(*objects: Json) -> Registry:
    held = Registry("cluster.local")
    held.apply(ChangeSet(tuple(parsed(each) for each in objects)))
    return held


def change(held: Registry, changes: ChangeSet) -> None:
    held.memo.invalidate(held.apply(changes))


def told(held: Registry, *connected: Proxy) -> list[tuple[str, str, str, str]]:
    every: tuple[Finding, ...] = held.memo.get(findings, ())
    found = without_connected(held, every, connected)
    return sorted((str(each.key), each.path, each.reason, each.code) for each in found if each.code in CODES)


def analysed(held: Registry, *connected: Proxy) -> list[tuple[str, str, str, str]]:
    found = between_objects(held, connected)
    return sorted((str(each.key), each.path, each.reason, each.code) for each in found if each.code in CODES)


HTTP = "spec.http[0].route[0].destination.host"


@pytest.mark.parametrize(
    ("objects", "paths"),
    [
        ([leads("cart")], [HTTP]),
        ([leads("cart"), *service("cart", 1)], []),
        ([leads("cart.shop.svc.cluster.local"), *service("cart", 1)], []),
        ([leads("cart.other.svc.cluster.local"), *service("cart", 1)], [HTTP]),
        ([leads("cart", 8000), *service("cart", 1)], []),
        ([leads("cart", 81), *service("cart", 1)], [HTTP]),
        ([leads("api.pay.com"), entry("api.pay.com")], []),
        ([leads("api.pay.com", 80), entry("api.pay.com")], [HTTP]),
        ([leads("api.pay.com"), entry("api.pay.com", exportTo=["."])], [HTTP]),
        ([leads("api.pay.com"), entry("api.pay.com", exportTo=["shop"])], []),
        ([leads("api.pay.com", exportTo=["web"]), entry("api.pay.com", exportTo=["shop"])], [HTTP]),
        ([leads("api.pay.com"), entry("*.pay.com", resolution="NONE")], []),
        ([leads("*.pay.com"), entry("*.com", resolution="NONE")], []),
        ([leads("api.pay.org"), entry("*.pay.com", resolution="NONE")], [HTTP]),
        (
            [
                leads("cart", http=[{"route": [{"destination": {"host": "cart"}}], "mirror": {"host": "gone"}}]),
                *service("cart", 1),
            ],
            ["spec.http[0].mirror.host"],
        ),
        (
            [leads("", http=[], tcp=[{"route": [{"destination": {"host": "gone"}}]}])],
            ["spec.tcp[0].route[0].destination.host"],
        ),
        ([leads("cart", gateways=["edge", "mesh"]), EDGE, POD, *service("cart", 1)], []),
        ([leads("cart", gateways=["shop/edge"]), EDGE, POD, *service("cart", 1)], []),
        ([leads("cart", gateways=["edge"]), *service("cart", 1)], ["spec.gateways[0]", "spec.gateways[0]"]),
        ([leads("cart", gateways=["other/edge"]), EDGE, POD, *service("cart", 1)], ["spec.gateways[0]"] * 2),
        (
            [leads("cart", gateways=["edge"], hosts=["a.example.org"]), EDGE, POD, *service("cart", 1)],
            ["spec.gateways[0]"],
        ),
    ],
)
def test_what_is_told_is_what_analyze_finds(objects: list[Json], paths: list[str]) -> None:
    held = registry(*objects)
    assert [path for _, path, _, _ in analysed(held)] == paths
    # analyze says of a gateway that is not there also that it has none of the hosts
    wanted = {each for each in analysed(held) if each[3] != codes.HOST_NOT_IN_GATEWAY.id or len(paths) == 1}
    assert set(told(held)) == wanted


def beside(name: str, host: str, port: int) -> Json:
    held = entry(host, ports=[{"number": port, "name": "tls", "protocol": "TLS"}], resolution="NONE")
    return {**held, "metadata": {"name": name, "namespace": "other"}}


def edge(*hosts: str) -> Json:
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    spec = {"selector": {"istio": "edge"}, "servers": [{"port": port, "hosts": list(hosts)}]}
    return manifest(NETWORKING, "Gateway", "edge", spec=spec)


@pytest.mark.parametrize(
    ("objects", "paths"),
    [
        ([leads("cart", gateways=["edge.shop.svc.cluster.local"]), EDGE, POD, *service("cart", 1)], []),
        ([leads("cart", gateways=["edge.shop"]), EDGE, POD, *service("cart", 1)], []),
        ([leads("cart", gateways=["edge.web"]), EDGE, POD, *service("cart", 1)], ["spec.gateways[0]"]),
        ([leads("cart", gateways=["edge"]), edge("A.example.com"), POD, *service("cart", 1)], []),
        ([leads("cart", gateways=["edge"], hosts=["A.example.com"]), EDGE, POD, *service("cart", 1)], []),
        (
            [
                leads("cart", gateways=["edge"], hosts=["cart"]),
                edge("cart.shop.svc.cluster.local"),
                POD,
                *service("cart", 1),
            ],
            [],
        ),
        ([leads("Cart.shop.svc.cluster.local", 8000), *service("cart", 1)], []),
        ([leads("API.pay.com"), entry("api.pay.com")], []),
        ([leads("cart.shop.svc.cluster.local.org"), *service("cart", 1)], [HTTP]),
        ([leads("api.pay.com", 90), beside("a", "*.com", 90), beside("b", "*.pay.com", 91)], []),
        ([leads("api.pay.com", 91), beside("a", "*.com", 90), beside("b", "*.pay.com", 91)], []),
        ([leads("api.pay.com", 92), beside("a", "*.com", 90), beside("b", "*.pay.com", 91)], [HTTP]),
    ],
)
def test_names_mean_what_routing_takes_them_for(objects: list[Json], paths: list[str]) -> None:
    assert [path for _, path, _, _ in told(registry(*objects))] == paths


def test_it_is_told_until_it_is_there_and_again_when_it_is_gone() -> None:
    held = registry(leads("cart"))
    cart = [parsed(each) for each in service("cart", 1)]
    for _ in range(2):
        assert [path for _, path, _, _ in told(held)] == [HTTP]
        change(held, ChangeSet(tuple(cart)))
        assert told(held) == []
        change(held, ChangeSet(deletes=tuple(each.key for each in cart)))


def test_a_gateway_is_for_nobody_until_a_pod_or_a_proxy_has_its_labels() -> None:
    other = {**POD, "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}}
    held = registry(EDGE, other)
    (nobody,) = told(held)
    assert nobody == (
        "Gateway shop/edge",
        "spec.selector",
        'the selector "istio=edge" is referred to and not there',
        codes.NOT_FOUND.id,
    )
    assert told(held) == analysed(held)
    assert told(held, Proxy("router", "edge.edges", (), "edges", "", {"istio": "edge"})) == []
    change(held, ChangeSet((parsed(POD),)))
    assert told(held) == []


def test_where_no_workload_is_known_nobody_says_whom_a_gateway_is_for() -> None:
    assert told(registry(EDGE)) == []


def test_another_service_is_no_work_for_what_leads_to_services_of_kubernetes() -> None:
    held = registry(leads("cart"), *service("cart", 1))
    assert told(held) == []
    before = held.memo.runs["missing_destinations"]
    change(held, ChangeSet(tuple(parsed(each) for each in service("more", 2))))
    assert told(held) == []
    assert held.memo.runs["missing_destinations"] == before


def test_all_services_are_looked_through_once_for_namespaces_that_see_the_same() -> None:
    def lost(namespace: str) -> Json:
        made = leads("lost.example.org")
        return made | {"metadata": made["metadata"] | {"namespace": namespace}}

    hidden = entry("*.hidden.example.org", resolution="NONE", exportTo=["c"])
    held = registry(*map(lost, ("a", "b", "c")), hidden, *service("cart", 1))
    assert len(told(held)) == 3
    assert held.memo.runs["_wide_hosts"] == 2, "one for c, and one for the others"
    change(held, ChangeSet(tuple(parsed(each) for each in service("more", 2))))
    assert len(told(held)) == 3
    assert held.memo.runs["_wide_hosts"] == 4


def test_gateways_for_the_same_proxies_look_for_them_once() -> None:
    others = [{**EDGE, "metadata": {"name": f"edge-{number}", "namespace": "shop"}} for number in range(9)]
    held = registry(*others, POD)
    for expected in (1, 2):
        assert told(held) == []
        assert held.memo.runs["somebody_has"] == expected
        labelled = {**POD, "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}}
        change(held, ChangeSet((parsed(labelled),)))
    assert held.memo.runs["gateway_of_nobody"] == len(others)
