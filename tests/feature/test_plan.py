"""``plan`` asked of a control plane that runs: what it says is what a proxy is sent then, and it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.cli.command import Result, run
from tests.feature.client import CDS, EDS, LDS, RDS, Held, connected
from tests.feature.objects import GOOD, MESH, NETWORKING, manifest, service, virtual_service
from tests.feature.server import Server, serving

URLS = {"CDS": CDS, "EDS": EDS, "LDS": LDS, "RDS": RDS}
TAKEN = manifest(NETWORKING, "VirtualService", "taken", spec={"hosts": ["cart"], "http": GOOD["spec"]["http"]})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "mesh").mkdir()
    with serving(tmp_path / "mesh", *MESH, GOOD) as running:
        yield running


def written(path: Path, *objects: Any) -> tuple[str, ...]:
    path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    return ("-f", str(path)) if objects else ()


async def plan(server: Server, path: Path, *objects: Any, options: tuple[str, ...] = ()) -> Result:
    files = written(path, *objects)
    return await run("plan", "--address", server.monitoring, *files, *options)


def after(held: Held, answer: Any) -> dict[str, dict[str, str]]:
    """Return the versions that a proxy has once it was sent what a plan says."""
    found = {short: {name: version for name, (version, _) in held[url].items()} for short, url in URLS.items()}
    for group in answer["classes"]:
        for each in group["resources"]:
            if each["change"] == "removed":
                assert found[each["type"]].pop(each["name"]) == each["versions"][0]
            else:
                assert found[each["type"]].get(each["name"]) == each["versions"][0], each
                found[each["type"]][each["name"]] = each["versions"][1]
    return found


def versions(held: Held) -> dict[str, dict[str, str]]:
    return {short: {name: version for name, (version, _) in held[url].items()} for short, url in URLS.items()}


async def test_what_is_planned_is_what_a_proxy_is_sent(server: Server, tmp_path: Path) -> None:
    """A service comes, one goes, routes are others; and planning it twice before has told nobody anything."""
    changed = virtual_service({"timeout": "7s", "route": [{"destination": {"host": "cart"}}]})
    new = service("new", 77)
    gone = [obj for obj in MESH if obj["metadata"]["name"].startswith("reviews")]
    names = [f"{obj['kind']}/{obj['metadata']['namespace']}/{obj['metadata']['name']}" for obj in gone]
    assert names
    options = ("-o", "json", *(word for name in names for word in ("--delete", name)))
    async with connected(server.xds) as client:
        before, responses = client.copy(), len(client.responses)
        answers = [
            json.loads((await plan(server, tmp_path / "change.yaml", changed, *new, options=options)).out)
            for _ in range(2)
        ]
        assert answers[0] == answers[1]
        (answer, _) = answers
        expected = after(before, answer)
        assert expected != versions(before)
        assert (client.copy(), len(client.responses)) == (before, responses)
        server.write("mesh.yaml", *(obj for obj in MESH if obj not in gone), *new, changed)
        await client.until(lambda: versions(client.held) == expected, "what was planned")
        assert {each["change"] for each in answer["objects"]} == {"added", "changed", "removed"}


async def test_exit_codes_and_words(server: Server, tmp_path: Path) -> None:
    async with connected(server.xds):
        same = await plan(server, tmp_path / "change.yaml", GOOD)
        assert (same.code, "0 objects: nothing changes." in same.out) == (0, True), same.out + same.err
        taken = await plan(server, tmp_path / "change.yaml", TAKEN)
        assert (taken.code, "IST0109" in taken.out, "new conflicts 1" in taken.out) == (3, True, True), taken.out
        missing = manifest(NETWORKING, "VirtualService", "more", spec={**GOOD["spec"], "gateways": ["nowhere"]})
        broken = await plan(server, tmp_path / "change.yaml", missing)
        reason = 'spec.gateways[0]: the gateway "nowhere" is referred to and not there   IST0101'
        assert (broken.code, reason in broken.out) == (3, True), broken.out
        twice = await plan(server, tmp_path / "change.yaml", GOOD, GOOD)
        assert "Given twice; the last counts" in twice.out, twice.out
        misspelt = {**GOOD, "spec": {**GOOD["spec"], "gatewys": ["mesh"]}}
        unknown = await plan(server, tmp_path / "change.yaml", misspelt)
        reason = "! VirtualService shop/cart spec.gatewys: unknown field"
        assert (unknown.code, reason in unknown.out) == (3, True), unknown.out
        deploy = await plan(server, tmp_path / "change.yaml", options=("--delete", "deploy/shop/cart"))
        assert (deploy.code, "name these (pod/NAMESPACE/NAME)" in deploy.err) == (1, True), deploy.err
        gone = await plan(server, tmp_path / "change.yaml", options=("--delete", "vs/shop/cart"))
        assert gone.code == 2, gone.out + gone.err
        assert "1 of 1 proxy (1 sidecar): route configurations ~1" in gone.out
        pruned = await plan(server, tmp_path / "change.yaml", *service("cart", 1)[:1], options=("--prune",))
        assert "- VirtualService shop/cart" in pruned.out
        wrong = await plan(server, tmp_path / "change.yaml", options=("--delete", "vs/shop/none"))
        assert (wrong.code, "there is no VirtualService shop/none" in wrong.err) == (1, True), wrong.err


async def test_a_web_page_of_elsewhere_cannot_ask(server: Server) -> None:
    """What a browser sends without asking first is refused, and so is what is no question."""
    async with aiohttp.ClientSession(f"http://{server.monitoring}") as session:
        for kind, body, status in (
            ("text/plain", "{}", 415),
            ("application/json", "{", 400),
            ("application/json", '{"objects": 1}', 400),
        ):
            async with session.post("/debug/plan", data=body, headers={"Content-Type": kind}) as response:
                assert response.status == status, await response.text()


async def test_an_object_is_explained_with_who_has_it(server: Server) -> None:
    async with connected(server.xds) as client:
        before = client.copy()
        result = await run("explain", "--address", server.monitoring, "vs/shop/cart", "-o", "json")
        assert result.code == 0, result.out + result.err
        answer = json.loads(result.out)
        assert answer["effect"]["resources"] == {"RDS": {"changed": 1}}
        assert [rule["inUse"] for rule in answer["rules"]] == [True]
        assert answer["delivery"] == {"states": {"RDS": {"SYNCED": 1}}, "refusals": [], "refusalCount": 0}
        assert client.copy() == before
        none = await run("explain", "--address", server.monitoring, "vs/shop/none")
        assert (none.code, "there is no VirtualService shop/none" in none.err) == (2, True)
