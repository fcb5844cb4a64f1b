"""A mesh for tests: a control plane on a directory of YAML, real Envoys, small backends, requests through them."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import aiohttp
import yaml

from controlplane.model.proxy import Locality
from samples.authority import LocalAuthority
from samples.backends import Backend
from samples.control_plane import LOOPBACK, ControlPlane, free_port
from samples.proxy import Pod, Proxy, mount_certificates
from samples.traffic import Answer, Entrance, send
from tests.patience import PATIENCE_SECONDS

HOST = "web.test"
VIRTUAL_HOST_DISCOVERY = "VIRTUAL_HOST_DISCOVERY"
HERE = Locality("north", "north-a")  # where every proxy of the mesh is
GATEWAYS = ["mesh", "ingress-delta", "ingress-sotw", "ingress-split"]
STATISTICS = {"proxyStatsMatcher": {"inclusionRegexps": [".*"]}}  # an Envoy of the mesh keeps few by itself
EVENTUALLY_SECONDS = PATIENCE_SECONDS
Json = dict[str, Any]


class Server(Protocol):
    """Something that requests can go to, on a free port of loopback once it is started."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self) -> None:
        """Close the port and every connection."""


AnyServer = TypeVar("AnyServer", bound=Server)


class Mesh:
    """What runs: one control plane and its proxies for many tests, objects and backends for each.

    Everything started through it ends with it, in the opposite order.
    """

    def __init__(self, stack: AsyncExitStack, directory: Path, control_plane: ControlPlane) -> None:
        self._stack = stack
        self._directory = directory
        self._authority = LocalAuthority()
        self._envoys: list[Proxy] = []
        self._entrances: dict[str, Entrance] = {}
        self._gateways: list[Json] = []
        self._objects: dict[tuple[str, str], Json] = {}
        self._servers: list[Server] = []
        self.control_plane = control_plane

    def write(self, *objects: Json) -> None:
        """Declare objects, replacing those of the same kind and name; all that is declared changes in one moment."""
        self._objects |= {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}
        write(self._directory / "config" / "mesh.yaml", *self._gateways, *self._objects.values())

    async def reset(self) -> None:
        """Forget the objects and stop the backends of one test. Fail when a proxy refused anything meanwhile.

        Every proxy has lost the clusters, which go last, when this returns: endpoints arrive before routes, so the
        first answer that the next test waits for could otherwise come from its own backend by the routes of this one.
        """
        self._objects.clear()
        self.write()
        for envoy in self._envoys:
            await eventually(partial(knows_no_service, envoy), f"{envoy.pod.id} has no cluster left")
        while self._servers:
            await self._servers.pop().stop()
        for envoy in self._envoys:
            assert await envoy.rejected() == {}, f"{envoy.pod.id} refused an update; see its log"

    async def backend(self, version: str) -> Backend:
        """Start a backend on a free port."""
        return await self.serving(Backend(version, LOOPBACK))

    async def serving(self, server: AnyServer) -> AnyServer:
        """Start a server and return it; it is stopped when the test ends."""
        await server.start()
        self._servers.append(server)
        return server

    def forget(self, kind: str, name: str) -> None:
        """Withdraw an object."""
        del self._objects[kind, name]
        self.write()

    async def sidecar(self, *, delta: bool = True, split: bool = False) -> Entrance:
        """Return the sidecar of a client, which takes requests as the client's HTTP proxy; started when first asked.

        ``split``: it gets virtual hosts one by one.
        """
        name = f"client-{form(delta=delta, split=split)}"
        if name not in self._entrances:
            port = free_port()
            metadata = {"INTERCEPTION_MODE": "NONE", "HTTP_PROXY_PORT": str(port), "UNPRIVILEGED_POD": "true"}
            if split:
                metadata[VIRTUAL_HOST_DISCOVERY] = "true"
            await self._envoy(Pod(name, metadata=metadata), delta=delta)
            self._entrances[name] = Entrance(name, f"http://{HOST}", proxy=f"http://{LOOPBACK}:{port}")
        return self._entrances[name]

    async def gateway(self, *, delta: bool = True, split: bool = False) -> Entrance:
        """Return an ingress gateway for every host, declared and started when first asked; it listens."""
        name = f"ingress-{form(delta=delta, split=split)}"
        if name not in self._entrances:
            port = free_port()
            server = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "bind": LOOPBACK, "hosts": ["*"]}
            self._gateways.append(istio("Gateway", name, selector={"istio": name}, servers=[server]))
            self.write()
            metadata = {VIRTUAL_HOST_DISCOVERY: "true"} if split else {}
            pod = Pod(name, ip="10.0.0.1", kind="router", labels={"istio": name}, metadata=metadata)
            await self._envoy(pod, delta=delta)
            await eventually(lambda: accepts(port), f"{name} listens on {port}")
            self._entrances[name] = Entrance(name, f"http://{LOOPBACK}:{port}", headers={"host": HOST})
        return self._entrances[name]

    async def further_server(self, gateway: Entrance) -> Entrance:
        """Give a gateway another port, and return it; it listens."""
        port = free_port()
        (declared,) = [each for each in self._gateways if each["metadata"]["name"] == gateway.title]
        (first, *_) = declared["spec"]["servers"]
        declared["spec"]["servers"].append({**first, "port": {**first["port"], "number": port, "name": f"http-{port}"}})
        self.write()
        await eventually(lambda: accepts(port), f"{gateway.title} listens on {port}")
        return replace(gateway, url=f"http://{LOOPBACK}:{port}")

    async def virtual_hosts(self, entrance: Entrance, route: str) -> list[str]:
        """Return the virtual hosts that an entrance's Envoy has in a route configuration, by its own word."""
        (envoy,) = [each for each in self._envoys if each.pod.name == entrance.title]
        _, text = await envoy.ask(envoy.ports.admin, "/config_dump?resource=dynamic_route_configs")
        held = [each["route_config"] for each in json.loads(text)["configs"] if each["route_config"]["name"] == route]
        return [host["name"] for each in held for host in each.get("virtual_hosts", ())]

    def admin_of(self, entrance: Entrance) -> str:
        """Return the admin port of an entrance's Envoy, as ``host:port``."""
        (envoy,) = [each for each in self._envoys if each.pod.name == entrance.title]
        return f"{LOOPBACK}:{envoy.ports.admin}"

    async def counted(self, entrance: Entrance, pattern: str) -> int:
        """Return the sum of the counters of an entrance's Envoy whose names match a regular expression."""
        (envoy,) = [each for each in self._envoys if each.pod.name == entrance.title]
        return sum((await envoy.stats(pattern)).values())

    async def _envoy(self, pod: Pod, *, delta: bool) -> None:
        """Start an Envoy with its agent and wait until it serves."""
        folder = self._directory / pod.name
        mount_certificates(folder, self._authority, pod.namespace, pod.service_account)
        located = replace(pod, labels={**pod.labels, "topology.istio.io/locality": str(HERE)})
        config = {"discoveryAddress": str(self.control_plane.xds), "controlPlaneAuthPolicy": "NONE", **STATISTICS}
        envoy = Proxy(located, folder, config, {"ISTIO_DELTA_XDS": str(delta).lower()})
        self._stack.push_async_callback(envoy.stop)
        await envoy.start()
        await envoy.wait_ready()
        self._envoys.append(envoy)

    def print_logs(self) -> None:
        """Print the end of every log, which pytest shows of a failed test."""
        print_logs(self._directory)


@asynccontextmanager
async def running() -> AsyncIterator[Mesh]:
    """Run a control plane that has nothing to serve yet."""
    with tempfile.TemporaryDirectory(prefix="mesh-") as name:  # short: paths of unix sockets end at 107 bytes
        directory = Path(name)
        (directory / "config").mkdir()
        async with AsyncExitStack() as stack:
            control_plane = ControlPlane(directory / "config", directory / "control-plane.log")
            stack.push_async_callback(control_plane.stop)
            await control_plane.start()
            yield Mesh(stack, directory, control_plane)


def form(*, delta: bool, split: bool = False) -> str:
    """Return the name of a form of xDS."""
    return "split" if split else "delta" if delta else "sotw"


def print_logs(directory: Path) -> None:
    """Print the end of every log of a directory."""
    for path in sorted(directory.rglob("*.log")):
        print(f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-30:], sep="\n")


def write(path: Path, *objects: Json) -> None:
    """Write objects to one file as editors save: by renaming, never half-written."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(yaml.safe_dump_all(objects))
    os.replace(unfinished, path)  # noqa: PTH105 - says that it replaces


def istio(kind: str, name: str, **spec: Any) -> Json:
    """Return a networking object in the namespace ``default``."""
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def endpoint(backend: Backend, **rest: Any) -> Json:
    """Return a backend as an endpoint labelled with its version; ``rest`` may give it a weight or a locality."""
    return {"address": backend.host, "ports": {"http": backend.port}, "labels": {"version": backend.version}, **rest}


def service(backends: Iterable[Backend | Json], host: str = HOST) -> Json:
    """Return the service ``web.test``, port 80, of these backends or endpoints."""
    endpoints = [endpoint(backend) if isinstance(backend, Backend) else backend for backend in backends]
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return istio(
        "ServiceEntry",
        host.split(".", 1)[0],
        hosts=[host],
        ports=ports,
        location="MESH_INTERNAL",
        resolution="STATIC",
        endpoints=endpoints,
    )


def routes(*http: Json, host: str = HOST) -> Json:
    """Return the routes of ``web.test``, for sidecars and for every gateway."""
    return istio("VirtualService", host.split(".", 1)[0], hosts=[host], gateways=GATEWAYS, http=list(http))


def to(subset: str | None = None, weight: int | None = None, host: str = HOST) -> Json:
    """Return one destination of a route."""
    destination = {"host": host} | ({"subset": subset} if subset else {})
    return {"destination": destination} | ({"weight": weight} if weight is not None else {})


def subsets(*versions: str, **policy: Any) -> Json:
    """Return subsets named after versions, and a traffic policy for all of them."""
    named = [{"name": version, "labels": {"version": version}} for version in versions]
    return istio("DestinationRule", "web", host=HOST, subsets=named, **({"trafficPolicy": policy} if policy else {}))


async def accepts(port: int) -> bool:
    """Whether something listens on this loopback port."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


async def eventually(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = EVENTUALLY_SECONDS) -> None:
    """Wait until ``condition`` holds; fail with ``what`` was waited for."""
    clock = asyncio.get_running_loop()
    deadline = clock.time() + seconds
    while not await condition():
        assert clock.time() < deadline, f"did not happen in {seconds:.0f} s: {what}"
        await asyncio.sleep(0.05)


async def eventually_all(entrance: Entrance, expected: Answer, path: str = "/", count: int = 5) -> None:
    """Wait until every one of a few requests is answered like this."""

    async def condition() -> bool:
        return set(await send(entrance, path, {}, count)) == {expected}

    await eventually(condition, f"{entrance.title} {path} answers {expected}")


async def knows_no_service(envoy: Proxy) -> bool:
    """Whether a proxy has no cluster of a service."""
    return not await envoy.stats(r"^cluster\.outbound")


class Load:
    """Requests that never stop, two at a time, through one entrance; each answer and each error is kept."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._tasks: list[asyncio.Task[None]] = []
        self.answers: list[Answer] = []
        self.errors: list[str] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._send()) for _ in range(2)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        headers: Mapping[str, str] = self._entrance.headers
        async with aiohttp.ClientSession(headers=headers) as session:
            while True:
                try:
                    async with session.get(self._entrance.url + "/", proxy=self._entrance.proxy) as response:
                        body = await response.json(content_type=None) if response.status == 200 else {}
                        self.answers.append(Answer(response.status, body.get("version", "")))
                except (aiohttp.ClientError, OSError) as error:
                    self.errors.append(repr(error))
                await asyncio.sleep(0.005)

    @property
    def failures(self) -> list[object]:
        """Everything that was not answered with 200."""
        return [*self.errors, *(answer for answer in self.answers if answer.status != 200)]

    async def more(self, count: int) -> list[Answer]:
        """Wait for so many further answers, and return them."""
        start = len(self.answers)

        async def enough() -> bool:
            return len(self.answers) + len(self.errors) >= start + count

        await eventually(enough, f"{count} more answers")
        return self.answers[start:]
