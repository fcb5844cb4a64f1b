"""``controlplane explain``: from files, and from a control plane that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samples.control_plane import ControlPlane
from tests.cli.command import ROOT, Result, run

BOOKSHOP = str(ROOT / "docs" / "examples" / "bookshop")
REVIEWS = "http://reviews:9080"


async def explain(*arguments: str) -> Result:
    return await run("explain", "-f", BOOKSHOP, *arguments)


def found(answer: Any, step: str) -> list[Any]:
    """Return all steps of a name, of the caller's proxy and of the servers'."""
    waiting = [*answer["steps"], *(each for server in answer["servers"] for each in server["steps"])]
    held = []
    while waiting:
        each = waiting.pop(0)
        held += [each] if each["step"] == step else []
        waiting = [*each.get("steps", ()), *waiting]
    return held


async def test_each_step_names_the_field_that_decides_it() -> None:
    result = await explain(
        "--from", "pod/shop/productpage", "GET", f"{REVIEWS}/api", "-H", "end-user: jason", "-o", "json"
    )
    assert result.code == 0, result.err
    answer = json.loads(result.out)

    def source(step: str, at: int = 0) -> str:
        held = found(answer, step)[at]["source"]
        return f"{held['kind']} {held['namespace']}/{held['name']} {held['field']}".strip()

    assert source("listener") == "Service shop/reviews spec.ports[0]"
    assert source("route") == "VirtualService shop/reviews spec.http[0].match[0]"
    assert source("timeout") == "VirtualService shop/reviews spec.http[0].timeout"
    assert source("cluster") == "DestinationRule shop/reviews spec.subsets[1]"
    assert source("TLS") == "PeerAuthentication shop/default spec.mtls"
    assert source("policy") == "AuthorizationPolicy shop/reviews-viewer spec.rules[0]"
    assert source("lost") == "VirtualService shop/old-reviews spec.hosts[0]"
    assert found(answer, "lost")[0]["code"] == "IST0109"
    assert found(answer, "route")[1]["verdict"] == "not reached"
    (destination,) = answer["outcome"]["destinations"]
    assert (destination["service"], destination["subset"]) == ("reviews.shop.svc.cluster.local", "v2")
    assert answer["servers"][0]["outcome"]["fate"] == "forwarded"
    assert answer["fails"] is False


async def test_a_failure_has_its_exit_code_and_last_line() -> None:
    result = await explain("--from", "pod/shop/productpage", f"{REVIEWS}/preview")
    last = "=> 503 UH (no healthy upstream): subset v3 selects no pod; subsets with endpoints: v1, v2"
    assert (result.code, result.out.splitlines()[-1]) == (3, last), result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--from", "pod/shop/productpg", "GET", REVIEWS],
            "there is no pod productpg in namespace shop; nearest: prod",
        ),
        (["GET", REVIEWS], "--from is needed"),
        (["--from", "namespace/shop", "--as", "jason", "GET", REVIEWS], "for --as: 'jason' is neither sa/"),
        (["--from", "namespace/shop", "--source-ip", "10.0.0.999", "GET", REVIEWS], "for --source-ip: '10.0.0.999' is"),
        (["--from", "namespace/shop", "GET", REVIEWS, "-H", "nothing"], "'nothing' is not NAME: VALUE"),
        (["--from", "namespace/shop", "reviews"], "give METHOD and URL"),
        (["--from", "namespace/shop", "reviews:9080"], "or an object (vs/shop/reviews); perhaps http://reviews:9080"),
        (["--from", "namespace/shop", "GETT", REVIEWS], "'GETT' is no method of HTTP's; nearest: GET"),
        (["--from", "namespace/shop", "reviews", REVIEWS], "a method of your own is written in capital letters"),
        (["--from", "namespace/shop", REVIEWS, REVIEWS], "is no method of HTTP's"),
        (["--from", "namespace/shop", "vs/shop/a", REVIEWS], "is no method of HTTP's"),
        (["--from", "namespace/shop", "GET", REVIEWS, "--admin", "127.0.0.1:9"], "is asked with --live alone"),
        (["vs/reviews.shop", "--admin", "127.0.0.1:9"], "an object is no request"),
    ],
)
async def test_a_wrong_question_is_told_of(arguments: list[str], said: str) -> None:
    result = await explain(*arguments)
    assert result.code == 2
    assert said in result.err


async def test_usual_methods_come_in_any_letters_and_others_in_capitals() -> None:
    plain, small, own = [
        await explain("--from", "pod/shop/productpage", *method, f"{REVIEWS}/", "-o", "json")
        for method in (["GET"], ["get"], ["MY-METHOD"])
    ]
    assert (small.code, small.out) == (plain.code, plain.out)
    assert "MY-METHOD" in own.out, own.err


async def test_an_admin_port_that_is_set_for_all_commands_counts_with_live_alone() -> None:
    question = ["explain", "-f", "samples/shop", "--from", "pod/shop/storefront", "GET", "http://catalog/items/7"]
    plain, beside = [
        await run(*question, environment=each) for each in ({}, {"CONTROLPLANE_ENVOY_ADMIN": "127.0.0.1:9"})
    ]
    assert (beside.code, beside.out) == (0, plain.out), beside.err


async def test_an_object_that_is_refused_costs_itself_alone(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bad, namespace: shop}\n"
        "spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}, weight: -1}]}]}\n"
    )
    result = await explain("-f", str(bad), "--from", "pod/shop/productpage", f"{REVIEWS}/", "-H", "end-user: jason")
    assert result.code == 0
    assert f"{bad}:1: VirtualService shop/bad: spec.http[0].route[0].weight" in result.err


async def test_a_control_plane_answers_the_same(tmp_path: Path) -> None:
    """What it says of its own objects is what files say, when pods and endpoints are all written down."""
    shop = ROOT / "samples" / "shop"
    question = ["--from", "pod/shop/storefront", "GET", "http://catalog/items/7", "-o", "json"]
    control_plane = ControlPlane(shop, tmp_path / "control-plane.log")
    await control_plane.start()
    try:
        monitoring = f"127.0.0.1:{control_plane.monitoring.port}"
        live = await run("explain", *question, "--address", monitoring)
        wrong = await run("explain", "--from", "pod/shop/nobody", "GET", "http://catalog/", "--address", monitoring)
    finally:
        await control_plane.stop()
    filed = await run("explain", "-f", str(shop), *question)
    assert (live.code, json.loads(live.out)) == (0, json.loads(filed.out)), live.err
    asked_of_files = await run("explain", "-f", str(shop), "--from", "pod/shop/nobody", "GET", "http://catalog/")
    assert (wrong.code, wrong.err) == (2, asked_of_files.err)
    assert "there is no pod nobody in namespace shop" in wrong.err


async def test_a_gateway_that_listens_at_one_address_is_called_there() -> None:
    """Where the address of its pod is known, the request goes to that, and nothing may listen there."""
    canary = ROOT / "samples" / "canary"
    question = ["GET", "http://web.example.com:18000/", "--from", "gateway/default/ingress"]
    result = await run("explain", "-f", str(canary), *question)
    assert (result.code, "route         4 of 4  canary" in result.out) == (0, True), result.out + result.err
