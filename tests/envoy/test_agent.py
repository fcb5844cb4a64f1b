"""The agent with a real Envoy and a real control plane: from a first credential to traffic, and when parts fail."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from samples.control_plane import LOOPBACK, free_port
from samples.process import ProcessFailedError
from samples.proxy import Pod, Proxy
from tests.envoy.agents import WEB, SecureMesh, secure_mesh, started
from tests.envoy.mesh import eventually, istio, write

PORT = free_port()  # an Envoy that no traffic is redirected to binds it
SERVICE = {"hosts": ["db.test"], "ports": [{"number": PORT, "name": "tcp", "protocol": "TCP"}]}


def service(name: str) -> dict[str, object]:
    spec = {**SERVICE, "hosts": [f"{name}.test"], "resolution": "STATIC", "endpoints": [{"address": "10.9.9.9"}]}
    return istio("ServiceEntry", name, **spec)


@pytest.fixture
async def mesh() -> AsyncIterator[SecureMesh]:
    with tempfile.TemporaryDirectory(prefix="agent-") as name:  # short: paths of Unix sockets end at 107 bytes
        async with secure_mesh(Path(name)) as running:
            write(running.config / "mesh.yaml", service("db"))
            yield running


async def cluster_names(proxy: Proxy) -> set[str]:
    _, text = await proxy.ask(proxy.ports.admin, "/config_dump?resource=dynamic_active_clusters")
    return {each["cluster"]["name"] for each in json.loads(text).get("configs", ())}


def outbound(host: str) -> str:
    return f"outbound|{PORT}||{host}.test"


@pytest.mark.parametrize("delta", ["true", "false"], ids=["delta", "sotw"])
async def test_an_envoy_gets_configuration_and_secrets(mesh: SecureMesh, delta: str) -> None:
    async with started(await mesh.proxy(WEB, ISTIO_DELTA_XDS=delta)) as proxy:
        assert outbound("db") in await cluster_names(proxy)
        write(mesh.config / "mesh.yaml", service("db"), service("cache"))

        async def arrived() -> bool:
            return outbound("cache") in await cluster_names(proxy)

        await eventually(arrived, "a change of configuration reaches Envoy")
        assert await proxy.rejected() == {}
        status, _ = await proxy.ask(proxy.ports.ready, "/healthz/ready")
        assert status == 200
        log = proxy.process.log_path.read_text()
        assert "agent.certificate_received" in log
        assert "[warning]" not in log
        assert "\twarning\t" not in log


async def test_no_key_is_on_a_disk(mesh: SecureMesh) -> None:
    async with started(await mesh.proxy()) as proxy:
        assert {name for name, content in files(proxy).items() if b"PRIVATE KEY" in content} == {"key.pem"}
        assert len(files(proxy)["envoy-rev.json"]) > 1000


async def test_envoy_serves_on_while_nobody_answers(mesh: SecureMesh) -> None:
    """The control plane is killed and comes again: Envoy keeps what it has, and gets what is new."""
    async with started(await mesh.proxy()) as proxy:
        await mesh.control_plane.kill()

        async def noticed() -> bool:
            return proxy.process.said("agent.control_plane_ended")

        await eventually(noticed, "the agent sees that the control plane is gone")
        assert outbound("db") in await cluster_names(proxy)
        assert await proxy.is_ready()
        write(mesh.config / "mesh.yaml", service("cache"))
        await mesh.control_plane.start()

        async def changed() -> bool:
            names = await cluster_names(proxy)
            return outbound("cache") in names and outbound("db") not in names

        await eventually(changed, "what changed meanwhile arrives")
        assert await proxy.rejected() == {}


async def test_an_agent_starts_before_the_control_plane(mesh: SecureMesh) -> None:
    await mesh.control_plane.stop()
    proxy = await mesh.proxy()
    await proxy.start()
    try:

        async def waiting() -> bool:
            assert not await proxy.is_ready()
            said = ("agent.certificate_missing", "agent.control_plane_ended", "config not received from XDS server")
            return all(map(proxy.process.said, said))

        await eventually(waiting, "the agent has tried, and says what it waits for")
        await mesh.control_plane.start()
        await proxy.wait_ready()
    finally:
        await proxy.stop()


async def test_it_ends_with_its_envoy(mesh: SecureMesh) -> None:
    """Told to end, it drains, ends Envoy and returns 0; when Envoy dies, it ends with the code of that."""
    proxy = await mesh.proxy()
    async with started(proxy):
        pid = envoy_pid(proxy)
        await proxy.stop()
        assert proxy.process.returncode == 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert proxy.process.said("agent.draining")
        assert "envoy-rev.json" not in files(proxy)
    async with started(proxy):
        os.kill(envoy_pid(proxy), signal.SIGKILL)

        async def ended() -> bool:
            return proxy.process.pid is None

        await eventually(ended, "the agent ends with Envoy")
        assert proxy.process.returncode == 128 + signal.SIGKILL
        assert proxy.process.said("agent.envoy_ended")


async def test_requests_go_on_through_crashes(mesh: SecureMesh) -> None:
    """While the agent is dead Envoy serves on; after a crash of either, what is started anew serves again."""
    port = free_port()
    listener = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "bind": LOOPBACK, "hosts": ["*"]}
    answer = {"directResponse": {"status": 200, "body": {"string": "yes"}}}
    write(
        mesh.config / "mesh.yaml",
        istio("Gateway", "edge", selector={"istio": "edge"}, servers=[listener]),
        istio("VirtualService", "edge", hosts=["*"], gateways=["edge"], http=[answer]),
    )
    proxy = await mesh.proxy(Pod("edge-1", "default", "10.0.0.8", kind="router", labels={"istio": "edge"}))
    async with aiohttp.ClientSession() as session:

        async def asked() -> int:
            try:
                async with session.get(f"http://{LOOPBACK}:{port}/") as found:
                    return found.status
            except aiohttp.ClientError:
                return 0

        async def serves() -> bool:
            return await asked() == 200

        async def all_served() -> None:
            assert {await asked() for _ in range(50)} == {200}

        async with started(proxy):
            await eventually(serves, "the gateway serves")
            envoy = envoy_pid(proxy)
            await proxy.process.kill()
            await all_served()
            os.kill(envoy, signal.SIGKILL)  # as a container ends with its first process

            async def gone() -> bool:
                return is_over(envoy)

            await eventually(gone, "Envoy has ended")
        for _ in range(2):
            async with started(proxy):
                await eventually(serves, "the gateway serves again")
                await all_served()
                os.kill(envoy_pid(proxy), signal.SIGKILL)

                async def ended() -> bool:
                    return proxy.process.pid is None

                await eventually(ended, "the agent ends with Envoy")


def is_over(pid: int) -> bool:
    """Whether a process has ended; nobody may have asked for its exit code yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.parametrize("path", ["/quitquitquit", "/drain"])
async def test_commands_are_for_this_host_and_by_post(mesh: SecureMesh, path: str) -> None:
    """Either way the agent ends at once: nothing is drained, or it was before."""
    async with started(await mesh.proxy()) as proxy:
        assert (await proxy.ask(proxy.ports.agent, path))[0] == 405
        assert await proxy.ask(proxy.ports.agent, path, "POST") == (200, "OK")
        if path == "/drain":
            assert await proxy.is_ready(), "it serves on until it is ended"
            await proxy.stop()

        async def ended() -> bool:
            return proxy.process.pid is None

        await eventually(ended, "the agent ends")
        assert proxy.process.returncode == 0
        assert not proxy.process.said("agent.draining")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        pytest.param({"PROV_CERT": "./nowhere"}, "no root certificate of the control plane is at", id="no-root"),
        pytest.param({"PROXY_CONFIG": '{"discoveryAddress": "x"}'}, "ProxyConfig.discoveryAddress: 'x'", id="address"),
        pytest.param({"SECRET_TTL": "soon"}, "SECRET_TTL: 'soon' is not a duration", id="duration"),
        pytest.param({"WORKLOAD_RSA_KEY_SIZE": "1024"}, "WORKLOAD_RSA_KEY_SIZE: 1024", id="short-key"),
        pytest.param({"ISTIO_METAJSON_X": "{"}, "ISTIO_METAJSON_X is not JSON", id="metadata"),
        pytest.param({"CA_PROVIDER": "Vault"}, "CA_PROVIDER: 'Vault' is not known", id="provider"),
    ],
)
async def test_what_it_cannot_start_with_is_said(mesh: SecureMesh, environment: dict[str, str], reason: str) -> None:
    proxy = await mesh.proxy(WEB, None, **environment)
    await proxy.start()
    with pytest.raises(ProcessFailedError, match="ended before it was ready") as failure:
        await proxy.wait_ready()
    assert reason in str(failure.value)
    assert proxy.process.returncode == 255


async def agent(*arguments: str) -> tuple[int, str]:
    """Run another command of the agent to its end; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", "agent", *arguments), stdout=-1, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_what_hooks_of_a_container_run(mesh: SecureMesh) -> None:
    proxy = await mesh.proxy()
    url = f"http://localhost:{proxy.ports.ready}/healthz/ready"
    code, said = await agent("wait", "--url", url, "--timeoutSeconds=0.2", "--periodMillis=50")
    assert code == 1
    assert "is not ready after 0.2 s" in said
    async with started(proxy):
        assert await agent("wait", "--url", url, "--timeoutSeconds", "20", "--periodMillis", "50") == (0, "")
        code, said = await agent("request", f"--debug-port={proxy.ports.admin}", "GET", "server_info")
        assert (code, json.loads(said)["state"]) == (0, "LIVE")
        assert await agent("request", f"--debug-port={proxy.ports.agent}", "POST", "drain") == (0, "OK")
        code, said = await agent("request", f"--debug-port={proxy.ports.agent}", "GET", "nothing")
        assert (code, "answered 404" in said) == (1, True)


def files(proxy: Proxy) -> dict[str, bytes]:
    """Return what is in every file of a proxy."""
    return {path.name: path.read_bytes() for path in proxy.folder.rglob("*") if path.is_file()}


def envoy_pid(proxy: Proxy) -> int:
    children = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children").read_text(encoding="utf-8").split()
    return int(children[0])
