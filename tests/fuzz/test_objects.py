"""Random objects of every kind, one after another into a running mesh: none may do harm.

``FUZZ_OBJECTS`` says how many (10,000 in CI take two or three minutes). Every resource that one of them makes is
judged by a real Envoy in the end, and of the snapshots that change one in ``FUZZ_ENVOY_EVERY`` as a whole. What
hypothesis prints makes the object again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from hypothesis import HealthCheck, Phase, currently_in_test_context, given, note, settings, strategies
from structlog.testing import capture_logs

from controlplane.apis.kinds import KINDS
from controlplane.compiler.compiler import Compiler, Session
from controlplane.frontends import FRONTENDS
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey, Rejected
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import Resource, ResourceType, Snapshot
from controlplane.watchers.kinds import parse
from tests.compiler.histories import manifest, parsed
from tests.envoy.judge import refused
from tests.envoy.validate import validate
from tests.fuzz.generate import Generator

OBJECTS = int(os.environ.get("FUZZ_OBJECTS", "600"))
PASSES_THROUGH = "outbound_."
ENVOY_EVERY = int(os.environ.get("FUZZ_ENVOY_EVERY", "60"))
EXAMPLES = max(OBJECTS // len(KINDS), 1)


def service(namespace: str, name: str, ip: str, **annotations: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80}, {"name": "tcp", "port": 90}, {"name": "auto", "port": 70}]
    spec = {"clusterIP": ip, "selector": {"app": name}, "ports": ports}
    return manifest("v1", "Service", namespace, name, spec=spec, annotations=annotations)


def pods(namespace: str, name: str, ip: str) -> list[dict[str, Any]]:
    return [
        manifest(
            "v1",
            "Pod",
            namespace,
            f"{name}-1",
            labels={"app": name, "version": "v1", "topology.istio.io/locality": "r1.z1.s"},
            spec={"containers": [{"ports": [{"containerPort": 80, "name": "http"}]}]},
            status={"podIP": ip},
        ),
        manifest(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            namespace,
            f"{name}-s",
            labels={"kubernetes.io/service-name": name},
            addressType="IPv4",
            ports=[{"name": "http", "port": 80}, {"name": "tcp", "port": 90}],
            endpoints=[{"addresses": [ip], "targetRef": {"kind": "Pod", "name": f"{name}-1"}}],
        ),
    ]


GATEWAY = {
    "selector": {"app": "web"},
    "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*/*"]}],
}
WORLD = (
    service("shop", "web", "10.0.0.1"),
    service("shop", "head", "None"),
    service("fuzz", "own", "10.0.0.2", **{"networking.istio.io/exportTo": "."}),
    *pods("shop", "web", "10.1.0.1"),
    *pods("shop", "head", "10.1.0.2"),
    *pods("fuzz", "own", "10.1.0.3"),
    manifest("networking.istio.io/v1", "Gateway", "shop", "gw", spec=GATEWAY),
)


def proxy(kind: str, namespace: str, name: str, ip: str, **metadata: Any) -> Proxy:
    domain = f"{namespace}.svc.cluster.local"
    return Proxy(kind, f"{name}-1.{namespace}", (ip,), namespace, domain, {"app": name}, metadata=metadata)


PROXIES = (
    proxy("sidecar", "fuzz", "own", "10.1.0.3", DNS_CAPTURE=True),
    proxy("sidecar", "shop", "web", "10.1.0.1"),
    proxy("router", "shop", "web", "10.1.0.1"),
)
OWN, OTHER = 0, 1


class Mesh:
    """A running compiler that each object comes into and leaves again."""

    def __init__(self, world: Iterable[dict[str, Any]] = WORLD, proxies: Sequence[Proxy] = PROXIES) -> None:
        self.loop = asyncio.new_event_loop()
        self.compiler = Compiler(Registry(frontends=FRONTENDS))
        self.proxies = proxies
        self.sessions: list[Session] = []
        self.changed = 0
        self.made: dict[tuple[ResourceType, str], tuple[Resource, dict[str, Any]]] = {}
        self.accepted = 0
        self.loop.run_until_complete(self._start(world))
        self.base = self.snapshots()

    async def _start(self, world: Iterable[dict[str, Any]]) -> None:
        await self.compiler.apply(ChangeSet(upserts=tuple(map(parsed, world))))
        self.sessions = [await self.compiler.open(each, lambda: None) for each in self.proxies]

    def snapshots(self) -> list[Snapshot]:
        return [session.snapshot for session in self.sessions]

    def apply(self, changes: ChangeSet) -> None:
        with capture_logs() as logs:
            self.loop.run_until_complete(self.compiler.apply(changes))
        failures = [event for event in logs if event["event"].startswith("compiler.")]
        assert not failures, failures


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    held = Mesh()
    yield held
    held.loop.close()


def contents(snapshot: Snapshot) -> dict[tuple[ResourceType, str], Resource]:
    return {(type_, name): held for type_, found in snapshot.resources.items() for name, held in found.items()}


@contextmanager
def put(mesh: Mesh, obj: Parsed) -> Iterator[None]:
    """Have the object in the mesh for a while; afterwards all is as before."""
    mesh.apply(ChangeSet(upserts=(obj.object,)))
    try:
        yield
    finally:
        mesh.apply(ChangeSet(deletes=(obj.object.key,)))
    for before, after in zip(mesh.base, mesh.snapshots(), strict=True):
        assert contents(before) == contents(after)


def check(mesh: Mesh, raw: dict[str, Any]) -> None:
    if currently_in_test_context():
        note(json.dumps(raw))
    result = parse(raw, "fuzz")
    if isinstance(result, Rejected):
        assert result.problems
        assert not any("cannot be read" in problem for problem in result.problems), result.problems
        return
    assert isinstance(result, Parsed), result
    mesh.accepted += 1
    with put(mesh, result):
        for index, (before, after) in enumerate(zip(mesh.base, mesh.snapshots(), strict=True)):
            changed = contents(before).items() ^ contents(after).items()
            if not changed:
                continue
            assert not (index == OTHER and private(result)), f"changed in another namespace: {changed}"
            mesh.changed += 1
            for (type_, _), resource in changed:
                mesh.made.setdefault((type_, resource.version), (resource, raw))
            assert len(addresses(after)) == len(after.of(ResourceType.LISTENER)), "two listeners at one address"
            depends(mesh, index, result.object.key, after, before)
            if mesh.changed % ENVOY_EVERY == 0:
                assert validate(after) is None


def addresses(snapshot: Snapshot) -> set[bytes]:
    """Return where the listeners are: Envoy takes only one at each place."""
    held = snapshot.of(ResourceType.LISTENER).values()
    return {Listener.FromString(resource.body).address.SerializeToString() for resource in held}


def private(result: Parsed) -> bool:
    """Whether only the object's own namespace can see it."""
    obj = result.object
    if obj.meta.namespace == "istio-system":
        return False
    if obj.kind in {kinds.SIDECAR, kinds.PEER_AUTHENTICATION, kinds.WORKLOAD_ENTRY}:
        return True
    return obj.kind != kinds.GATEWAY and getattr(obj.spec, "export_to", ()) == (".",)


def depends(mesh: Mesh, index: int, key: ObjectKey, after: Snapshot, before: Snapshot) -> None:
    """Every load assignment, and every cluster, that is another than before says that it is made from the object.

    A Gateway with AUTO_PASSTHROUGH decides only that there are clusters for what passes through, not what is in them.
    """
    for type_ in (ResourceType.CLUSTER, ResourceType.ENDPOINT):
        held = before.of(type_)
        for name, resource in after.of(type_).items():
            if key.kind == kinds.GATEWAY and name not in held and name.startswith(PASSES_THROUGH):
                continue
            if held.get(name) != resource:
                behind = set(mesh.compiler.behind(PROXIES[index], type_, name))
                assert key in behind, f"{type_} {name} changed and is made from {behind}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_object_does_harm(kind: str, mesh: Mesh) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=os.environ.get("CI") == "true",  # the same objects each time: what failed fails again
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(chance=strategies.randoms(use_true_random=True))
    def examples(chance: random.Random) -> None:
        check(mesh, Generator(chance).object(kind))

    examples()


def test_enough_of_them_reach_the_translators(mesh: Mesh) -> None:
    """Runs after the others: a generator whose objects are all refused would show nothing."""
    assert mesh.accepted > EXAMPLES
    assert mesh.changed > EXAMPLES / 2


def test_a_real_envoy_takes_everything_that_was_made(mesh: Mesh) -> None:
    """Runs last: not one of the resources of all these objects is refused."""
    made = list(mesh.made.values())
    found = refused([resource for resource, _ in made])
    assert [(reason, json.dumps(made[position][1])) for position, reason in found.items()] == []
