"""``wait`` and ``internal-debug`` against a control plane that runs on files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from samples.control_plane import ControlPlane
from tests.admin import world
from tests.api.test_api import PARTS
from tests.cli.command import ROOT, run
from tests.feature.objects import to, virtual_service
from tests.wiring.test_analysis import parsed

BAD = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bad, namespace: shop}
spec: {hosts: [a], http: [{route: [{destination: {host: a}, weight: -1}]}]}
"""


async def test_an_object_is_waited_for_until_all_have_it_or_it_is_gone(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh"
    shutil.copytree(ROOT / "samples" / "canary", mesh)
    (mesh / "bad.yaml").write_text(BAD)
    control_plane = ControlPlane(mesh, tmp_path / "control-plane.log")
    await control_plane.start()
    at = ("--address", f"127.0.0.1:{control_plane.monitoring.port}", "--timeout", "0s")
    try:
        there = await run("wait", "gateway", "ingress", *at)
        still = await run("wait", "gw/default/ingress", "--for", "delete", *at)
        absent = await run("x", "wait", "vs", "nobody.shop", *at)
        long = await run("wait", "vs", "nobody.shop", *at[:2], "--timeout", "1100ms")
        gone = await run("wait", "vs", "nobody.shop", "--for", "delete", *at)
        misspelt = await run("wait", "gw", "ingres", *at)
        refused = await run("wait", "virtualservice", "bad.shop", *at)
        nobody = await run("wait", "gateway", "ingress", "--proxy", "web.default", *at)
    finally:
        await control_plane.stop()
    assert (there.code, there.out) == (0, "Gateway default/ingress: 0 of 0 proxies have it\n"), there.err
    assert still.code == 1
    assert "not within 0s: Gateway default/ingress is still in force at" in still.err
    assert absent.code == 1
    assert "does not have VirtualService shop/nobody yet" in absent.err
    told = [each.partition(": ")[2] if each.startswith("Error: ") else each for each in long.err.splitlines()]
    assert len(told) == len(set(told)), "it is said once, and in the end"
    assert (gone.code, gone.out) == (0, "VirtualService shop/nobody is gone\n")
    assert misspelt.code == 1
    assert "does not have Gateway default/ingres yet; nearest: ingress\n" in misspelt.err
    assert refused.code == 3
    assert "VirtualService shop/bad is refused: spec.http[0].route[0].weight" in refused.err
    assert nobody.code == 1
    assert "web.default is not connected" in nobody.err


async def test_a_proxy_that_refuses_something_ends_the_wait() -> None:
    reviews = parsed(virtual_service({"route": [to("")]}, name="reviews"))
    sources = replace(world.sources(), objects=lambda: [reviews], object={reviews.key: reviews}.get)
    async with world.serving(sources, parts=PARTS) as address:
        result = await run("wait", "vs", "reviews.shop", "--timeout", "0s", "--address", address)
        other = await run("wait", "vs/shop/reviews", "--timeout", "0s", "--proxy", "web-1.shop", "--address", address)
    assert result.code == 3, result.err
    assert "api-1.prod refuses what it was sent; `controlplane status` says why" in result.err
    assert (other.code, other.out) == (0, "VirtualService shop/reviews: 1 of 1 proxies have it\n"), other.err


async def test_an_object_is_found_among_many_whose_names_have_its_name_in_them() -> None:
    """The API gives a hundred at once where nobody asks for more."""
    every = [parsed(virtual_service({"route": [to("")]}, name=f"a{n}-reviews")) for n in range(120)]
    every.append(parsed(virtual_service({"route": [to("")]}, name="reviews")))
    sources = replace(world.sources(), objects=lambda: every, object={each.key: each for each in every}.get)
    async with world.serving(sources, parts=PARTS) as address:
        result = await run("wait", "vs/shop/reviews", "--timeout", "0s", "--proxy", "web-1.shop", "--address", address)
    assert (result.code, result.out) == (0, "VirtualService shop/reviews: 1 of 1 proxies have it\n"), result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vss", "a"], "Istio has no kind vss"),
        (["svc", "a"], "Istio has no kind svc"),
        (["gatewy", "a"], "Istio has no kind gatewy; nearest: Gateway"),
        (["vs"], "give KIND and NAME"),
        (["vs", "shop/a"], "give KIND and NAME"),
        (["vs/shop/a/b"], "give KIND and NAME"),
        (["vs", "a."], "give KIND and NAME"),
        (["vs", "a", "--timeout", "soon"], "'soon' is not a duration"),
    ],
)
async def test_wrong_usage_is_told(arguments: list[str], said: str) -> None:
    result = await run("wait", *arguments)
    assert result.code == 2
    assert said in result.err


async def test_a_debug_page_is_printed() -> None:
    async with world.serving(world.sources()) as address:
        page = await run("x", "internal-debug", "syncz", "--address", address)
        every = await run("x", "internal-debug", "syncz", "--all", "--address", address)
        names = await run("x", "internal-debug", "--address", address)
        listed = await run("x", "internal-debug", "-L", "--address", address)
        wrong = await run("x", "internal-debug", "synz", "--address", address)
    assert page.code == 0, page.err
    assert json.loads(page.out)[0]["proxy"]
    assert (every.code, every.out) == (0, page.out), every.err
    assert "syncz" in json.loads(names.out)
    assert (listed.code, listed.out) == (0, names.out), listed.err
    assert wrong.code == 2
    assert "there is no page synz; there are" in wrong.err


async def test_proxies_are_behind_while_it_is_worked_out_what_they_should_have() -> None:
    """Until then each of them has acknowledged all that it was sent, and knows nothing of the object."""
    reviews = parsed(virtual_service({"route": [to("")]}, name="reviews"))
    held = replace(world.sources(), objects=lambda: [reviews], object={reviews.key: reviews}.get, revision=lambda: 8)
    asked = ("wait", "vs", "reviews.shop", "--timeout", "0s", "--proxy", "web-1.shop", "--address")
    async with world.serving(replace(held, settled=lambda: 7), parts=PARTS) as address:
        early = await run(*asked, address)
    async with world.serving(replace(held, settled=lambda: 8), parts=PARTS) as address:
        there = await run(*asked, address)
    assert early.code == 1
    assert "still works out what VirtualService shop/reviews means for the proxies" in early.err
    assert there.code == 0, there.err


async def test_a_replica_that_has_started_again_counts_anew() -> None:
    """Its revisions begin at 1: that of before is never reached, and nobody would have anything."""
    reviews = parsed(virtual_service({"route": [to("")]}, name="reviews"))
    revisions = iter((8, 2))
    held = replace(world.sources(), objects=lambda: [reviews], object={reviews.key: reviews}.get)
    held = replace(held, revision=lambda: next(revisions, 2), settled=lambda: 2)
    async with world.serving(held, parts=PARTS) as address:
        done = await run(
            "wait", "vs", "reviews.shop", "--timeout", "120s", "--proxy", "web-1.shop", "--address", address
        )
    assert (done.code, done.out) == (0, "VirtualService shop/reviews: 1 of 1 proxies have it\n"), done.err
    assert "still works out" in done.err
