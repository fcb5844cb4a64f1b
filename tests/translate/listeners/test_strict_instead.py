"""What stands for PeerAuthentications that cannot be read makes what workloads accept stricter, and nothing weaker."""

from __future__ import annotations

import pytest

from controlplane.analysis.superseded import superseded
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet
from controlplane.registry.peer_authentication import WorkloadMtls, namespace_mode, workload_mode
from controlplane.registry.policies import WorkloadKey
from controlplane.watchers.reading import read
from tests.translate.listeners.test_peer_authentication import WEB, policy
from tests.translate.listeners.world import World

OLD = "2020-01-01T00:00:00Z"
LOOSE = policy("web", "ns1", "DISABLE", selector="app: web", ports="80: {mode: PERMISSIVE}")
ROOT = WorkloadKey("istio-system", WEB.labels)


def of(yaml: str, key: WorkloadKey = WEB) -> tuple[str, dict[int, str]]:
    """Return what the namespace accepts and each stated port of the workload, 0 for the others."""
    world = World()
    reading = read(yaml.encode(), "policies.yaml")
    held = (*reading.objects.values(), *reading.stand_ins.values())
    world.registry.memo.invalidate(world.registry.apply(ChangeSet(upserts=held)))
    assert world.registry.memo.get(superseded, kinds.PEER_AUTHENTICATION) == ()
    found: WorkloadMtls = world.registry.memo.get(workload_mode, key)
    modes = {0: str(found.mode), **{port: str(mode) for port, mode in found.ports}}
    return str(world.registry.memo.get(namespace_mode, key.namespace)), modes


@pytest.mark.parametrize(
    ("yaml", "namespace", "workload"),
    [
        pytest.param(policy("a", "ns1", "strict"), "STRICT", {0: "STRICT"}, id="namespace"),
        pytest.param(policy("a", "istio-system", "strict"), "STRICT", {0: "STRICT"}, id="mesh"),
        pytest.param(policy("a", "ns2", "strict"), "PERMISSIVE", {0: "PERMISSIVE"}, id="other-namespace"),
        pytest.param(policy("a", "ns1", "strict", selector="app: web"), "PERMISSIVE", {0: "STRICT"}, id="workload"),
        pytest.param(policy("a", "ns1", "strict", selector="app: db"), "PERMISSIVE", {0: "PERMISSIVE"}, id="another"),
        pytest.param(policy("a", "ns1", "STRICT", selector="app: '*'"), "STRICT", {0: "STRICT"}, id="whose"),
        pytest.param(
            policy("a", "ns1", "STRICT", selector="app: '*'", created=OLD) + LOOSE,
            "STRICT",
            {0: "STRICT", 80: "STRICT"},
            id="nobody-knows-whose-beside-a-good-one",
        ),
        pytest.param(
            policy("a", "ns1", "strict", created=OLD) + LOOSE,
            "STRICT",
            {0: "DISABLE", 80: "PERMISSIVE"},
            id="a-good-one-is-more-particular",
        ),
        pytest.param(
            policy("a", "ns1", "DISABLE", ports="x: {}", created=OLD) + policy("b", "ns1", "STRICT"),
            "STRICT",
            {0: "STRICT"},
            id="older-and-weaker",
        ),
        pytest.param(
            policy("a", "ns1", "DISABLE", selector="app: web", ports="80: {mode: STRICT}, 81: {mode: DISABLE}, x: {}")
            + policy("b", "ns1", "PERMISSIVE"),
            "PERMISSIVE",
            {0: "PERMISSIVE", 80: "STRICT", 81: "PERMISSIVE"},
            id="a-port",
        ),
        pytest.param(
            policy("a", "ns1", "STRICT", selector="app: web", ports="81: {mode: DISABLE}, x: {}") + LOOSE,
            "PERMISSIVE",
            {0: "STRICT", 80: "STRICT", 81: "DISABLE"},
            id="all-but-a-port",
        ),
    ],
)
def test_what_is_accepted(yaml: str, namespace: str, workload: dict[int, str]) -> None:
    assert of(yaml) == (namespace, workload)


@pytest.mark.parametrize(("selector", "mode"), [("app: web", "PERMISSIVE"), ("app: '*'", "STRICT"), ("", "STRICT")])
def test_in_the_root_namespace(selector: str, mode: str) -> None:
    """A selector that can be read counts for nothing there, as in a good policy."""
    assert of(policy("a", "istio-system", "strict", selector=selector), ROOT) == (mode, {0: mode})
