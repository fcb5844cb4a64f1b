"""What of the program may fail while proxies are served, and what may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.cli.command import run
from tests.feature.client import EDS, Client, Proof, Variant, connected
from tests.feature.failing import REASON
from tests.feature.objects import MESH, Json, cluster
from tests.feature.server import PAUSE_SECONDS, Server, serving
from tests.patience import patience
from tests.security.authorities import Signer, cacerts, root

REVIEWS = cluster("reviews.shop.svc.cluster.local")
FAILING = "tests.feature.failing"
SUPERVISED = {
    "key sets of issuers",
    "authority",
    "names of gateways",
    "event loop probe",
    "findings",
    "certificates and the clock",
    "ends of certificates",
    "share of proxies",
}
PUSHES = 20
TLS = ("--secure-port", "0", "--webhook-port", "0", "--serving-names", "localhost")
CA = root("root")


def moved(address: str) -> list[Json]:
    """Return the mesh with the endpoint of reviews at another address."""
    held: list[Json] = json.loads(json.dumps(MESH))
    for obj in held:
        if obj["kind"] == "EndpointSlice" and obj["metadata"]["name"] == "reviews-1":
            obj["endpoints"][0]["addresses"] = [address]
    return held


def at(client: Client, address: str) -> bool:
    return address in str(client.message(EDS, REVIEWS))


async def get_changes(server: Server, client: Client) -> None:
    """Change the mesh again and again; each change reaches the proxy."""
    for number in range(PUSHES):
        address = f"10.9.7.{number + 1}"
        server.write("mesh.yaml", *moved(address))
        await client.until(partial(at, client, address), "the new address")


async def ready(server: Server) -> None:
    while (await server.get("/ready"))[0] != 200:
        await asyncio.sleep(PAUSE_SECONDS)


async def test_every_other_task_may_fail_for_ever_and_proxies_notice_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    options = (*TLS, "--ca-dir", str(tmp_path / "ca"), "--peers", "127.0.0.1:9")
    with serving(folder, *MESH, options=options, program=(FAILING, "every_task")) as server:
        async with connected(server.xds) as client, connected(server.xds, Variant.SOTW) as other:
            await get_changes(server, client)
            await other.until(lambda: at(other, f"10.9.7.{PUSHES}"), "the last address")
            for task in SUPERVISED:
                failed = await server.event("app.task_failed", task=task, failures=3)
                assert f"RuntimeError: {REASON}" in failed["exception"]
                assert "in failing" in failed["exception"]  # where it is
            assert not client.ended.is_set()
        _, page = await server.get("/debug/taskz")
        assert {task["name"]: task["problem"] for task in page["tasks"]} == dict.fromkeys(
            SUPERVISED, f"RuntimeError: {REASON}"
        )
        assert all(task["failures"] >= 3 and task["failed_at"] for task in page["tasks"])
        _, metrics = await server.get("/metrics")
        for task in SUPERVISED:
            assert f'controlplane_task_failures_total{{task="{task}"}}' in metrics
        status = await run("status", "--address", server.monitoring)
        assert status.code == 0
        assert "Not working in the control plane:" in status.err
        for task in SUPERVISED:
            assert f"  {task} failed " in status.err
        assert status.err.count(f"RuntimeError: {REASON}") == len(SUPERVISED)
        server.terminate()
        assert await server.exit_code() == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("source_ends", "the source of objects has ended by itself"), ("compiler_fails", REASON)],
)
async def test_the_end_of_an_essential_task_is_an_error_with_its_place(tmp_path: Path, fault: str, reason: str) -> None:
    with serving(tmp_path, *MESH, program=(FAILING, fault)) as server:
        assert await server.exit_code() == 1
        (failed,) = server.logged("app.failed")
        assert failed["reason"] == reason
        assert f"Error: {reason}" in failed["exception"]
        assert "Traceback" in failed["exception"]


async def test_the_users_mistake_is_one_line(tmp_path: Path) -> None:
    ports = (part for name in ("xds", "secure", "webhook", "monitoring") for part in (f"--{name}-port", "0"))
    mistake = ("--kubeconfig", str(tmp_path / "none"), *ports)
    done = await run("serve", *mistake)
    (failed,) = (json.loads(line) for line in done.err.splitlines() if "app.failed" in line)
    assert failed["reason"].startswith("--kubeconfig: there is no file")
    assert "exception" not in failed
    assert done.code == 1


def plug_in(folder: Path, signer: Signer) -> None:
    for name, content in cacerts(signer, [], [CA]).items():
        (folder / name).write_bytes(content)


def expired(folder: Path) -> None:
    plug_in(folder, CA.signs("ended", days=-0.5))


def unreadable(folder: Path) -> None:
    plug_in(folder, CA.signs("torn"))
    (folder / "ca-key.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nno\n")


def incomplete(folder: Path) -> None:
    (folder / "ca-cert.pem").write_bytes(CA.pem)


def a_folder(folder: Path) -> None:
    plug_in(folder, CA.signs("hidden"))
    (folder / "ca-key.pem").unlink()
    (folder / "ca-key.pem").mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (expired, "the signing certificate ended at"),
        (unreadable, "ca-key.pem: not an unencrypted private key in PEM"),
        (incomplete, "incomplete: has ca-cert.pem"),
        (a_folder, "ca-key.pem: Is a directory"),
    ],
)
async def test_an_authority_that_cannot_sign_costs_nobody_else_anything(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    mesh, authority = tmp_path / "mesh", tmp_path / "ca"
    mesh.mkdir()
    authority.mkdir()
    spoil(authority)
    with serving(mesh, *MESH, options=(*TLS, "--ca-dir", str(authority))) as server:
        assert server.secure == ""
        assert says in (await server.event("security.authority_unusable"))["reason"]
        async with connected(server.xds) as client:
            await get_changes(server, client)
            code, reason = await server.get("/ready")
            assert (code, says in reason) == (503, True)
            status = await run("status", "--address", server.monitoring)
            assert status.code == 0
            assert "Not working in the control plane:" in status.err
            assert says in status.err
            if (authority / "ca-key.pem").is_dir():
                (authority / "ca-key.pem").rmdir()
            plug_in(authority, CA.signs("good"))
            async with patience():
                await ready(server)
            assert not client.ended.is_set()
        await server.event("security.authority_opened")
        while not server.secure:
            await asyncio.sleep(PAUSE_SECONDS)
        channel = Proof(CA.pem.decode(), "").channel(server.secure)
        async with channel, patience():
            await channel.channel_ready()
        assert not server.logged("app.failed")
        assert len(server.logged("security.authority_unusable")) == 1
        assert "Not working" not in (await run("status", "--address", server.monitoring)).err
        server.terminate()
        assert await server.exit_code() == 0
