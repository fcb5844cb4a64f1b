"""``status`` against a real monitoring port, and against what an istiod answers."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from aiohttp import web

from controlplane.admin.sources import AdminSources
from controlplane.ads.sync_status import ProxyStatus
from controlplane.cli.age import age
from controlplane.model import kinds
from controlplane.model.feeds import Feed, Standing
from controlplane.model.objects import ObjectKey, Rejected
from controlplane.snapshots import ResourceType
from tests.admin import world
from tests.cli.command import ROOT, run
from tests.patience import patience

TABLE = """\
NAME           CLUSTER        CDS               LDS              EDS              RDS              ECDS        ISTIOD       VERSION
api-1.prod     Kubernetes     STALE (3h20m)     ERROR (15m)      IGNORED          NOT SENT         IGNORED     istiod-0
web-1.shop     Kubernetes     SYNCED (15m)      SYNCED (15m)     SYNCED (15m)     SYNCED (15m)     IGNORED     istiod-0     1.27.0

Refused:
  LDS by api-1.prod: Error adding/updating listener(s) 0.0.0.0_9080: error adding listener: no such filter
    made from Gateway shop/edge, VirtualService shop/reviews
"""  # noqa: E501 - as wide as the table is


@asynccontextmanager
async def answering(body: Any, status: int = 200) -> AsyncIterator[str]:
    """Answer every question for ``/debug/syncz`` with one JSON value."""

    async def respond(_request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_get("/debug/syncz", respond)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def all_objects_good(*statuses: ProxyStatus) -> AdminSources:
    return replace(world.sources(*statuses), rejected=list)


async def test_table_sorted_by_name_and_exit_code_of_an_error() -> None:
    async with world.serving(all_objects_good()) as address:
        result = await run("status", "--address", address)
    assert result.out == TABLE
    assert (result.code, result.err) == (1, "")


async def test_objects_with_problems_follow_on_standard_error() -> None:
    unreadable = Rejected(ObjectKey(kinds.NO_KIND, "", ""), ("is not UTF-8 text",), "shop.yaml:3")
    missing = Rejected(
        ObjectKey(kinds.VIRTUAL_SERVICE, "prod", "api"), ("spec.http[0]: a", "spec.http[1]: b"), "api.yaml:1"
    )
    asked = replace(world.sources(), rejected=lambda: [missing, unreadable])
    async with world.serving(asked) as address:
        every = await run("status", "--address", address)
        shop = await run("status", "-n", "shop", "--address", address)
        one = await run("status", "web-1", "--address", address)
    assert every.out == TABLE
    assert every.err.splitlines() == [
        "",
        "2 objects have problems:",
        "  shop.yaml:3",
        "    is not UTF-8 text",
        "  VirtualService prod/api (api.yaml:1)",
        "    spec.http[0]: a",
        "    spec.http[1]: b",
    ]
    assert shop.err.splitlines() == ["", "1 object has problems:", "  shop.yaml:3", "    is not UTF-8 text"]
    assert one.err == ""


async def test_since_when_the_api_server_is_away() -> None:
    since = datetime.now(UTC) - timedelta(minutes=15)
    gone = replace(all_objects_good(world.healthy()), away_since=since.timestamp)
    async with world.serving(gone) as address:
        text = await run("status", "--address", address)
        one = await run("status", "web-1", "--address", address)
        value = await run("status", "-o", "json", "--address", address)
    when = since.isoformat(timespec="seconds").replace("+00:00", "Z")
    told = f"The API server has not answered since {when} (15m): proxies keep what was read before, and"
    assert text.err.startswith(f"\n{told}")
    assert text.code == 0
    assert one.err.startswith(f"\n{told}")
    assert value.err.startswith(told)
    assert [each["api_server_away_since"] for each in json.loads(value.out)] == [when]


async def test_kinds_that_are_not_up_to_date() -> None:
    good = Feed("services", "", Standing.CURRENT, 3, 0, 1, 9, 1.0, 0.0, "")
    stuck = replace(good, resource="pods", namespace="shop", problem="may not watch pods in API group '': no")
    asked = replace(all_objects_good(world.healthy()), feeds=lambda: (good, stuck))
    async with world.serving(asked) as address:
        result = await run("status", "--address", address)
    assert result.err == "\nNot up to date:\n  pods of shop: may not watch pods in API group '': no\n"


async def test_all_well_exits_with_0() -> None:
    async with world.serving(all_objects_good(world.healthy())) as address:
        result = await run("status", "--address", address)
    assert (result.code, result.err) == (0, "")
    assert "web-1.shop" in result.out


async def test_nobody_connected_is_no_problem() -> None:
    async with answering(None) as address:
        result = await run("status", "--address", address)
    assert result.code == 0
    assert result.out.split() == ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ECDS", "ISTIOD", "VERSION"]


async def test_one_namespace() -> None:
    async with world.serving(world.sources()) as address:
        result = await run("status", "--namespace", "shop", "--address", address)
    assert "web-1.shop" in result.out
    assert "api-1.prod" not in result.out


@pytest.mark.parametrize(("style", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
async def test_as_a_value(style: str, load: Any) -> None:
    async with world.serving(world.sources()) as address:
        result = await run("status", "-o", style, "--address", address)
    assert [each["proxy"] for each in load(result.out)] == ["api-1.prod", "web-1.shop"]
    assert result.code == 1


@pytest.mark.parametrize("name", ["api-1.prod", "api-1", "api-1.prod-3"])
async def test_one_proxy_shows_the_refusal_and_the_objects_behind_it(name: str) -> None:
    async with world.serving(world.sources()) as address:
        result = await run("status", name, "--address", address)
    assert result.code == 1
    assert "web-1" not in result.out
    facts, types, refusal = result.out.split("\n\n")
    assert facts.splitlines()[0].split() == ["Proxy:", "api-1.prod"]
    assert "api-1.prod-3 from 127.0.0.1:40000, open for 4m" in facts
    rows = {line.split()[0]: line.split()[1:] for line in types.splitlines()[1:]}
    assert rows["CDS"] == ["STALE", "3h20m", "v2", "v1", "7", "6"]
    assert rows["LDS"][0] == "ERROR"
    assert rows["RDS"] == ["NOT", "SENT", "-", "-", "-", "-", "-"]
    assert rows["ECDS"][0] == "IGNORED"
    lines = refusal.splitlines()
    assert lines[0].startswith("LDS refused 2")
    assert lines[0].endswith(" ago of version v2:")
    assert lines[1:] == [
        f"    {world.REFUSAL.strip()}",
        "  0.0.0.0_9080 is made from:",
        "    Gateway shop/edge",
        "    VirtualService shop/reviews",
    ]


async def test_one_proxy_shows_types_that_have_no_column() -> None:
    async with world.serving(world.sources()) as address:
        result = await run("status", "web-1", "--address", address)
    assert result.code == 0
    assert [line.split()[1] for line in result.out.splitlines() if line.startswith("SDS ")] == ["SYNCED"]


async def test_a_proxy_that_is_not_connected() -> None:
    async with world.serving(world.sources()) as address:
        result = await run("status", "gone.shop", "--address", address)
    assert (result.code, result.out) == (1, "")
    assert "Proxy gone.shop is not connected" in result.err


async def test_a_name_that_several_namespaces_have() -> None:
    two = [world.status("web", {}, namespace) for namespace in ("a", "b")]
    async with world.serving(world.sources(*two)) as address:
        ambiguous = await run("status", "web", "--address", address)
        chosen = await run("status", "web", "-n", "b", "--address", address)
    assert ambiguous.code == 2
    assert "'web' may be any of web.a, web.b" in ambiguous.err
    assert chosen.code == 0
    assert "web.b" in chosen.out


async def test_no_control_plane() -> None:
    result = await run("status", "--address", "127.0.0.1:9")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: The control plane at 127.0.0.1:9 cannot be reached")


async def test_a_refusal_of_the_control_plane_is_shown() -> None:
    async with answering("who are you", status=401) as address:
        result = await run("status", "--address", address)
    assert result.code == 1
    assert "answered 401" in result.err


async def test_another_answer_than_a_list() -> None:
    async with answering({"error": "x"}) as address:
        result = await run("status", "--address", address)
    assert result.code == 1
    assert "did not answer with a list of proxies" in result.err


async def test_what_an_istiod_answers() -> None:
    """Nothing but nonces, by type URL; the states follow from them."""
    prefix = "type.googleapis.com/envoy.config"
    element = {
        "cluster_id": "east",
        "proxy": "web.shop",
        "istio_version": "1.26",
        "resources": {
            f"{prefix}.cluster.v3.Cluster": {"sent": "a", "acked": "a"},
            f"{prefix}.listener.v3.Listener": {"sent": "b", "acked": "a"},
            f"{prefix}.route.v3.RouteConfiguration": {"sent": "b", "acked": "a", "lastError": "no"},
            f"{prefix}.endpoint.v3.ClusterLoadAssignment": {},
        },
    }
    async with answering([element]) as address:
        result = await run("status", "--address", address)
    row = result.out.splitlines()[1]
    assert row.split() == ["web.shop", "east", "SYNCED", "STALE", "NOT", "SENT", "ERROR", "IGNORED", "1.26"]
    assert result.code == 1


async def test_what_an_older_istiod_answers() -> None:
    element = {"proxy": "web.shop", "cluster_sent": "a", "cluster_acked": "a", "listener_sent": "b"}
    async with answering([element]) as address:
        result = await run("status", "--address", address)
    assert result.out.splitlines()[1].split() == ["web.shop", "SYNCED", "STALE", "IGNORED", "IGNORED", "IGNORED"]


async def _on_a_terminal(
    *arguments: str, until: bytes, times: int = 1, stop: bool, columns: int = 200
) -> tuple[int, bytes]:
    """Run a command on a pseudo-terminal until it has printed something so often; return its exit code and the output.

    A read takes what the terminal has at that moment, which may be a part of a screen.
    """
    terminal, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    environment.pop("NO_COLOR", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controlplane", *arguments, cwd=ROOT, env=environment, stdout=theirs, stdin=theirs
    )
    os.close(theirs)
    seen = b""
    try:
        async with patience():
            while seen.count(until) < times:
                try:
                    seen += await asyncio.to_thread(os.read, terminal, 65536)
                except OSError:  # the other side is closed
                    break
            if stop:
                process.send_signal(signal.SIGINT)
            return await process.wait(), seen
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(terminal)


async def test_colours_on_a_terminal() -> None:
    async with world.serving(world.sources()) as address:
        code, seen = await _on_a_terminal("status", "--address", address, until=b"1.27.0", stop=False)
    assert code == 1
    assert b"\x1b[1;31mERROR" in seen


async def test_watch_refreshes_until_it_is_interrupted() -> None:
    async with world.serving(world.sources()) as address:
        code, seen = await _on_a_terminal(
            "status", "--watch", "--address", address, until=b"web-1.shop", times=2, stop=True
        )
    assert code == 0
    assert b"\x1b[1A" in seen  # the second screen is drawn over the first


async def test_watch_on_a_narrow_terminal_hides_no_column() -> None:
    """The last column is there: a cut line would hide that a type is refused."""
    async with world.serving(world.sources()) as address:
        _, seen = await _on_a_terminal("status", "-w", "--address", address, until=b"1.27.0", stop=True, columns=60)
    assert b"1.27.0" in seen


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600 + 1200, "3h20m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (51 * 3600, "2d3h"),
        (8 * 86400, "8d"),
        (2 * 365 * 86400 + 86400, "2y1d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


async def test_what_could_not_be_built_is_named() -> None:
    """An error of the control plane's own: with its reason, in the table's company and in a proxy's details."""
    failed = {"outbound|80||b.shop.svc": "ValueError: broken"}
    entry = replace(world.healthy().types[ResourceType.CLUSTER], failed=failed)
    listeners = replace(world.healthy().types[ResourceType.LISTENER], failed={"*": "KeyError: 'x'"})
    healthy = world.healthy()
    types = {**healthy.types, ResourceType.CLUSTER: entry, ResourceType.LISTENER: listeners}
    async with world.serving(all_objects_good(replace(healthy, types=types))) as address:
        every = await run("status", "--address", address)
        one = await run("status", "web-1.shop", "--address", address)
        watched = await run("status", "-o", "json", "--address", address)
    assert (every.code, one.code) == (0, 0)
    assert every.err.split("\n")[1:] == [
        "Could not be built, so proxies keep what they have of it:",
        "  Cluster outbound|80||b.shop.svc (of 1 proxy): ValueError: broken",
        "  every Listener (of 1 proxy): KeyError: 'x'",
        "",
    ]
    assert "CDS could not be built, so the proxy keeps what it has of it:\n  outbound|80||b.shop.svc: Value" in one.out
    assert "LDS could not be built, so the proxy keeps what it has of it:\n  every resource: KeyError" in one.out
    shown = json.loads(watched.out)[0]["resources"][ResourceType.CLUSTER.value]
    assert shown["unbuilt"] == [{"name": "outbound|80||b.shop.svc", "reason": "ValueError: broken"}]
    assert shown["unbuiltCount"] == 1


async def test_what_a_control_plane_says_is_no_order_to_the_terminal() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=400, text="\x1b]0;owned\x07 no")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        where = ("--address", f"127.0.0.1:{runner.addresses[0][1]}")
        for command in (("status",), ("explain", "VirtualService/a/b"), ("admin", "log", "--level", "a:debug")):
            result = await run(*command, *where)
            assert "owned" in result.err
            assert "\x1b" not in result.out + result.err
            assert "\x07" not in result.out + result.err
    finally:
        await runner.cleanup()
