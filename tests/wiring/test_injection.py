"""What the injection webhook is told of the mesh, as it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import structlog

from controlplane.injector.identifiers import Identifiers
from controlplane.model.objects import ChangeSet, Object
from controlplane.registry.store import Registry
from controlplane.watchers.kinds import parse
from controlplane.wiring.injection import InjectionSettings


def read(obj: Mapping[str, Any]) -> Object:
    found = parse(obj, "test:1")
    parsed = getattr(found, "object", None)
    assert isinstance(parsed, Object), found
    return parsed


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "istio-system"},
        "data": data,
    }


def node(name: str, version: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"nodeInfo": {"kubeletVersion": version}},
    }


def proxy_config(namespace: str, name: str, created: str, **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "creationTimestamp": created}
    return {"apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig", "metadata": metadata, "spec": spec}


class World:
    """A registry, and what injection makes of it."""

    def __init__(self, revision: str = "default", **environment: str) -> None:
        self.registry = Registry()
        self.settings = InjectionSettings(self.registry, revision, environment)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        changes = ChangeSet(upserts=tuple(map(read, objects)))
        self.registry.memo.invalidate(self.registry.apply(changes))
        self.settings.changed(changes)

    def delete(self, obj: Mapping[str, Any]) -> None:
        changes = ChangeSet(deletes=(read(obj).key,))
        self.registry.memo.invalidate(self.registry.apply(changes))
        self.settings.changed(changes)


def test_without_a_config_map_the_defaults_hold() -> None:
    found = World().settings.of("shop")
    assert (found.config.policy, found.namespace, found.revision) == ("enabled", "shop", "")
    assert found.values.text("global.proxy.image") == "proxyv2"


def test_the_config_map_holds_and_goes() -> None:
    world = World()
    shipped = config_map("istio-sidecar-injector", config="policy: disabled", values='{"global": {"hub": "h"}}')
    world.apply(shipped)
    assert world.settings.of("shop").config.policy == "disabled"
    assert world.settings.of("shop").values.text("global.hub") == "h"
    world.delete(shipped)
    assert world.settings.of("shop").config.policy == "enabled"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"config": "policy: [a]"}, "config: policy: must be text"),
        ({"config": "a: ["}, "config: line"),
        ({"config": "templates: {a: 1}"}, "config: templates.a: must be text"),
        ({"config": "neverInjectSelector: [{matchLabels: 1}]"}, "config: neverInjectSelector[0]"),
        ({"values": "[1]"}, "values: must be a map"),
    ],
)
def test_a_bad_config_map_leaves_the_last_good_one(data: dict[str, str], reason: str) -> None:
    world = World()
    world.apply(config_map("istio-sidecar-injector", config="policy: disabled", values='{"global": {"hub": "h"}}'))
    with structlog.testing.capture_logs() as logged:
        world.apply(config_map("istio-sidecar-injector", **data))
    assert world.settings.of("shop").config.policy == "disabled"
    assert world.settings.of("shop").values.text("global.hub") == "h"
    (event,) = (each for each in logged if each["event"] == "injection.configuration_refused")
    assert reason in event["reason"]


def test_the_mesh_configuration_holds() -> None:
    world = World()
    world.apply(config_map("istio", mesh="trustDomain: corp.example"))
    assert world.settings.of("shop").mesh.trust_domain == "corp.example"


def test_a_revision_is_told_where_the_values_do_not_say_it() -> None:
    world = World("canary")
    world.apply(config_map("istio-sidecar-injector", values="{}"))
    found = world.settings.of("shop")
    assert (found.revision, found.values.text("revision")) == ("canary", "canary")


def test_proxy_configs_of_the_root_and_of_the_namespace() -> None:
    world = World()
    late = proxy_config("shop", "a", "2026-02-01T00:00:00Z", concurrency=2)
    world.apply(
        late,
        proxy_config("shop", "b", "2026-01-01T00:00:00Z", concurrency=1),
        proxy_config("istio-system", "root", "2026-01-01T00:00:00Z", concurrency=3),
    )
    root, here = world.settings.of("shop").proxy_configs
    assert [each.concurrency for each in root] == [3]
    assert [each.concurrency for each in here] == [1, 2], "the oldest first"
    assert world.settings.of("other").proxy_configs[1] == ()
    assert world.settings.of("istio-system").proxy_configs[1] == ()
    world.delete(late)
    assert [each.concurrency for each in world.settings.of("shop").proxy_configs[1]] == [1]


@pytest.mark.parametrize(
    ("versions", "environment", "native"),
    [
        ((), {}, False),
        (("v1.33.0", "v1.36.3"), {}, True),
        (("v1.33.0+k3s1",), {}, True),
        (("v1.33.0", "v1.32.9"), {}, False),
        (("v2.0.0",), {}, True),
        (("none",), {}, False),
        (("v1.20.0",), {"ENABLE_NATIVE_SIDECARS": "true"}, True),
        (("v1.36.0",), {"ENABLE_NATIVE_SIDECARS": "false"}, False),
    ],
)
def test_native_where_every_node_can(versions: tuple[str, ...], environment: dict[str, str], native: bool) -> None:  # noqa: FBT001
    world = World(**environment)
    world.apply(config_map("istio"), *(node(f"n{at}", version) for at, version in enumerate(versions)))
    assert world.settings.of("shop").native is native


def test_users_of_a_namespace_of_openshift() -> None:
    annotations = {"openshift.io/sa.scc.uid-range": "1000620000/10000"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": annotations}}
    for platform, expected in (("openshift", Identifiers(1000629999, 1000629999)), ("", Identifiers())):
        world = World(PLATFORM=platform)
        world.apply(namespace)
        assert world.settings.of("shop").identifiers == expected
