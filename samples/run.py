"""A small mesh on loopback, to watch a change of configuration reach running proxies.

Starts the control plane on ``samples/canary``, two versions of a small HTTP service, a real Envoy with its agent as
ingress gateway and another as the sidecar of a client; sends requests through both and shows which version answered,
and why. Then it watches: edit the YAML and see the split change. Ctrl-C ends everything it started. Needs no privilege,
no Kubernetes and no free port in particular.

    python -m samples.run           # until Ctrl-C
    python -m samples.run --once    # shows, checks and ends; the exit status says whether everything held
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import shutil
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path

import aiohttp
import yaml

from controlplane.agent.binary import EnvoyNotFoundError, envoy_binary
from samples.authority import LocalAuthority
from samples.backends import Backend
from samples.control_plane import LOOPBACK, READY_TIMEOUT, ControlPlane, free_port
from samples.process import ProcessFailedError
from samples.proxy import Pod, Ports, Proxy, mount_certificates
from samples.traffic import Answer, Entrance, canary_weights, outcomes, send, shares, split

CANARY = Path(__file__).parent / "canary"
VERSIONS = {"v1": "127.0.0.11", "v2": "127.0.0.12"}  # as in canary/1-web.yaml
WEB_PORT = 18080  # as in canary/1-web.yaml
GATEWAY_PORT = 18000  # as in canary/3-gateway.yaml
REQUESTS = 400
WATCH_INTERVAL = timedelta(seconds=2)
WATCH_REQUESTS = 100
CHANGE_SIGMAS = 3.5


@dataclass(frozen=True, slots=True)
class Mesh:
    """Everything that runs, and where the configuration is that it runs on."""

    config_dir: Path
    control_plane: ControlPlane
    gateway: Proxy
    sidecar: Proxy
    entrances: tuple[Entrance, ...]


def relocated(config_dir: Path, directory: Path) -> tuple[Path, dict[int, int]]:
    """Return the directory to serve and the port in use for each of the sample's; a copy where one is taken."""
    ports = {GATEWAY_PORT: free_port(GATEWAY_PORT), WEB_PORT: free_port(WEB_PORT, *VERSIONS.values())}
    if all(port == default for default, port in ports.items()):
        return config_dir, ports
    copy = directory / "canary"
    shutil.copytree(config_dir, copy)
    for path in copy.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        for default, port in ports.items():
            text = text.replace(str(default), str(port))
        path.write_text(text, encoding="utf-8")
    return copy, ports


async def start(stack: AsyncExitStack, directory: Path) -> Mesh:
    """Start everything, each registered with ``stack`` to be ended in the opposite order.

    Raises ``ProcessFailedError``, ``EnvoyNotFoundError`` or ``OSError``.
    """
    envoy_binary()
    config_dir, ports = relocated(CANARY, directory)
    for version, host in VERSIONS.items():
        backend = Backend(version, host, ports[WEB_PORT])
        await backend.start()
        stack.push_async_callback(backend.stop)
    control_plane = ControlPlane(config_dir, directory / "control-plane.log", xds_port=15010, monitoring_port=15014)
    stack.push_async_callback(control_plane.stop)
    await control_plane.start()

    authority, proxy_port = LocalAuthority(), free_port(15080)

    def proxied(pod: Pod, admin_port: int) -> Proxy:
        """Return an agent with its Envoy; nobody signs certificates here, so they are mounted."""
        folder = directory / pod.name
        mount_certificates(folder, authority, pod.namespace, pod.service_account)
        config = {"discoveryAddress": str(control_plane.xds), "controlPlaneAuthPolicy": "NONE"}
        return Proxy(pod, folder, config, ports=replace(Ports.free(), admin=free_port(admin_port)))

    gateway = proxied(Pod("ingressgateway", ip=LOOPBACK, kind="router", labels={"istio": "ingressgateway"}), 15001)
    # Nothing is intercepted: the client names its sidecar as HTTP proxy. UNPRIVILEGED_POD keeps the control plane from
    # asking for listeners on ports below 1024.
    metadata = {"INTERCEPTION_MODE": "NONE", "HTTP_PROXY_PORT": str(proxy_port), "UNPRIVILEGED_POD": "true"}
    sidecar = proxied(Pod("client", labels={"app": "client"}, metadata=metadata), 15000)
    for proxy in (gateway, sidecar):
        stack.push_async_callback(proxy.stop)
        await proxy.start()
    for proxy in (gateway, sidecar):
        await proxy.wait_ready()
    entrances = (
        Entrance(
            "through the gateway", f"http://{LOOPBACK}:{ports[GATEWAY_PORT]}", headers={"host": "web.example.com"}
        ),
        Entrance("through the client's sidecar", "http://web", proxy=f"http://{LOOPBACK}:{proxy_port}"),
    )
    for proxy, entrance in zip((gateway, sidecar), entrances, strict=True):
        await proxy.process.wait_until(partial(answers, entrance), READY_TIMEOUT)
    return Mesh(config_dir, control_plane, gateway, sidecar, entrances)


async def answers(entrance: Entrance) -> bool:
    """Whether a backend answers through an entrance: an Envoy that is ready may not listen yet."""
    try:
        return (await send(entrance, "/", {}, 1))[0].status == HTTPStatus.OK
    except (aiohttp.ClientError, OSError):
        return False


def introduce(mesh: Mesh, directory: Path) -> None:
    """Print what runs where."""
    gateway, sidecar = mesh.entrances
    print(f"control plane    xDS {mesh.control_plane.xds}, monitoring http://{mesh.control_plane.monitoring}")
    print(f"configuration    {mesh.config_dir}")
    print(f"gateway          {gateway.url} (Envoy, admin http://{LOOPBACK}:{mesh.gateway.ports.admin})")
    print(f"client's sidecar {sidecar.proxy} as HTTP proxy (Envoy, admin http://{LOOPBACK}:{mesh.sidecar.ports.admin})")
    print(f"logs             {directory}")


async def show(mesh: Mesh) -> bool:
    """Send requests through both entrances and print the outcome; return whether every expectation held."""
    held = True
    for entrance in mesh.entrances:
        print(f"\nRequests {entrance.title}:")
        for outcome in await outcomes(entrance, mesh.config_dir, REQUESTS):
            mark = "FAILED" if outcome.problem else "ok"
            print(f"  {mark:6} {outcome.count:4} x {outcome.request:22} {outcome.seen:30} {outcome.why}")
            if outcome.problem:
                print(f"         {outcome.problem}")
                held = False
    return held


async def show_status(mesh: Mesh) -> bool:
    """Print what the control plane knows of its proxies; return whether the command worked and names both."""
    command = ["-m", "controlplane", "status", "--address", str(mesh.control_plane.monitoring)]
    print(f"\n$ python {' '.join(command)}", flush=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    print(output.rstrip())
    missing = [proxy.pod.id for proxy in (mesh.gateway, mesh.sidecar) if proxy.pod.id not in output]
    if process.returncode or missing:
        print(f"  FAILED status ended with {process.returncode}, without a line for: {', '.join(missing) or 'nobody'}")
        return False
    return True


def explain_next(mesh: Mesh) -> None:
    """Print how to go on."""
    gateway, sidecar = mesh.entrances
    print(f"""
Now edit the weights in {mesh.config_dir / "4-routes.yaml"} and watch the split change below. Or ask yourself:
  curl -H 'Host: web.example.com' {gateway.url}/
  curl -x {sidecar.proxy} -H 'canary: always' {sidecar.url}/
Ctrl-C ends everything.
""")


async def watch(mesh: Mesh) -> None:
    """Keep sending requests; print the split when the file changed, or the answers did by more than chance.

    What the control plane says against the file follows: only with it can one tell why the answers are not the file's.
    """
    entrance = mesh.entrances[0]
    before: list[Answer] = []
    printed: tuple[str, list[str]] | None = None
    while True:
        wanted, problems = described(mesh.config_dir), await mesh.control_plane.problems()
        now = await send(entrance, "/", {}, WATCH_REQUESTS)
        if not before or differs(before, now):
            before = []
        if not before or (wanted, problems) != printed:
            print(f"{split(now):32} the file says: {wanted}", flush=True)
            for problem in problems:
                print(f"{'':32} the control plane says: {problem}", flush=True)
            printed = wanted, problems
        before = [*before, *now][-20 * WATCH_REQUESTS :]
        await asyncio.sleep(WATCH_INTERVAL.total_seconds())


def differs(before: list[Answer], now: list[Answer]) -> bool:
    """Whether the shares of two samples differ by more than chance (two-proportion test, each kind of answer)."""
    for kind in {(answer.status, answer.version) for answer in (*before, *now)}:
        counts = [sum((answer.status, answer.version) == kind for answer in answers) for answers in (before, now)]
        pooled = sum(counts) / (len(before) + len(now))
        deviation = math.sqrt(pooled * (1 - pooled) * (1 / len(before) + 1 / len(now)))
        if abs(counts[0] / len(before) - counts[1] / len(now)) > CHANGE_SIGMAS * deviation:
            return True
    return False


def described(config_dir: Path) -> str:
    """Return what the file asks for now, or why that cannot be told."""
    try:
        return shares(canary_weights(config_dir))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, yaml.YAMLError) as error:
        return f"nothing of use ({' '.join(str(error).split())})"


async def run(*, once: bool) -> int:
    """Start, show and watch; return the exit status."""
    directory = Path(tempfile.mkdtemp(prefix="controlplane-run-"))
    succeeded = False
    try:
        async with AsyncExitStack() as stack:
            mesh = await start(stack, directory)
            introduce(mesh, directory)
            shown = [await show(mesh), await show_status(mesh)]
            succeeded = all(shown)
            if not once:
                explain_next(mesh)
                await watch(mesh)
    except EnvoyNotFoundError as error:
        print(error, file=sys.stderr)
    except (ProcessFailedError, OSError, aiohttp.ClientError) as error:
        print(f"{error}\n", file=sys.stderr)
    finally:
        if succeeded:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"Logs and bootstraps are in {directory}", file=sys.stderr)
    return 0 if succeeded else 1


async def until_interrupted(*, once: bool) -> int:
    """Run until done, or until SIGINT or SIGTERM; either ends the children first."""
    task = asyncio.create_task(run(once=once))

    def interrupt() -> None:
        if not task.cancelling():  # a second Ctrl-C must not interrupt the ending of the children
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    print("Ended.")
    return 1 if once else 0


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Run a small mesh on loopback.")
    parser.add_argument("--once", action="store_true", help="show and check once, then end")
    sys.exit(asyncio.run(until_interrupted(once=parser.parse_args().once)))


if __name__ == "__main__":
    main()
