"""One random mesh, simulated and served to real Envoys: a sidecar, a gateway, and the server's side of a sidecar."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from controlplane.model.proxy import Proxy
from controlplane.simulate.built import mesh_of
from controlplane.simulate.call import Call, Outcome
from controlplane.simulate.manifests import Manifest, Manifests
from controlplane.simulate.mesh import Mesh
from samples.control_plane import LOOPBACK, free_port
from tests.envoy.compared import difference
from tests.envoy.random_calls import CLIENT_IP, GATEWAY_IP, Calls, World
from tests.envoy.replay import EchoBackend, Happened, Replay

OUTBOUND, INBOUND = 15001, 15006
FATES: Counter[str] = Counter()
"""How often each fate was foretold at each proxy, of all contests of the process."""


class Difference(NamedTuple):
    """A call of which Envoy made something else, with all that is needed to look at it again."""

    seed: int
    side: str
    call: Call
    outcome: Outcome
    happened: Happened
    text: str


class Side(NamedTuple):
    """One proxy: who it is, the calls it gets, the port that takes them all (0: each its own), what is foretold."""

    name: str
    proxy: Proxy
    calls: Callable[[], Call]
    capture: int


def sides(calls: Calls) -> Iterator[Side]:
    """Yield the three proxies of a contest."""

    def proxy(name: str, kind: str, ip: str, app: str) -> Proxy:
        return Proxy(kind, f"{name}.default", (ip,), "default", "default.svc.cluster.local", {"app": app})

    yield Side("sidecar", proxy("client", "sidecar", CLIENT_IP, "client"), calls.outbound, OUTBOUND)
    yield Side("gateway", proxy("public", "router", GATEWAY_IP, "gateway"), calls.gateway, 0)
    yield Side("server", proxy("web-0", "sidecar", "127.1.1.1", "web"), calls.inbound, INBOUND)


async def contest(seed: int, count: int) -> list[Difference]:
    """Make ``count`` calls to each of the three proxies of a random mesh; return where simulation and Envoy differ."""
    rng = random.Random(seed)
    backend = EchoBackend()
    port = free_port(0, "0.0.0.0")
    await backend.start(port)
    try:
        objects = World(rng, port).make()
        made = Manifests.of(Manifest(obj, "random") for obj in objects)
        mesh = await mesh_of(made.change_set())
        found: list[Difference] = []
        for side in sides(Calls(rng, port)):
            found += await _held(seed, side, mesh, port, count)
        return found
    finally:
        await backend.stop()


async def _held(seed: int, side: Side, mesh: Mesh, port: int, count: int) -> list[Difference]:
    calls = [replace(side.calls(), peer=LOOPBACK) for _ in range(count)]  # whatever the PROXY header says
    held = await mesh.held(side.proxy)
    foretold = [held.inbound(call) if side.capture == INBOUND else held.outbound(call) for call in calls]
    session = await mesh.compiler.open(side.proxy, lambda: None)
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        replay = Replay(session.snapshot, Path(folder), port)
        try:
            await replay.start()
            happened = await replay.happened(calls, side.capture)
        finally:
            await replay.process.stop()
            session.close()
    FATES.update(f"{side.name} {outcome.fate}" for outcome in foretold)
    return [
        Difference(seed, side.name, call, outcome, what, text)
        for call, outcome, what in zip(calls, foretold, happened, strict=True)
        if (text := difference(call, outcome, what))
    ]
