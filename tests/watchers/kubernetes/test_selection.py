"""Which of a cluster's objects count: revision, discovery selectors, watched namespaces."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.apis.mesh import LabelSelector
from controlplane.backoff import Backoff
from controlplane.model import kinds
from controlplane.model.label_selector import matches
from controlplane.watchers.kubernetes.source import ClusterOptions
from tests.watchers.kubernetes.following import followed, fresh
from tests.watchers.kubernetes.recorded_api import MESH, NAMESPACES, SERVICES, VIRTUAL_SERVICES, RawObject, RecordedApi
from tests.watchers.kubernetes.test_faults import service, virtual_service

pytestmark = pytest.mark.slow


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RecordedApi]:
    async with RecordedApi(tmp_path) as running:
        yield running


def namespace(name: str, **labels: str) -> RawObject:
    return {"metadata": {"name": name, "labels": labels}}


def mesh(text: str, name: str = "istio") -> RawObject:
    return {"metadata": {"namespace": "istio-system", "name": name}, "data": {"mesh": text}}


SELECT = "discoverySelectors: [{matchLabels: {mesh: 'on'}}]"


async def test_discovery_selectors(api: RecordedApi) -> None:
    options = ClusterOptions(kubeconfig=api.kubeconfig)
    api.put(NAMESPACES, namespace("shop", mesh="on"))
    api.put(NAMESPACES, namespace("other"))
    api.put(MESH, mesh(SELECT))
    api.put(SERVICES, service("a"))
    api.put(SERVICES, service("b", namespace="other"))
    api.put(SERVICES, service("c", namespace="other", labels={"bad": 7}))
    async with followed(options) as follower:
        assert follower.named("Service") == ["a"]
        assert not follower.source.rejected
        assert follower.named("Namespace") == ["other", "shop"]
        api.put(NAMESPACES, namespace("other", mesh="on"))
        await follower.until(lambda: follower.named("Service") == ["b", "a"])
        assert list(follower.source.rejected) == ["Service other/c"]
        api.put(NAMESPACES, namespace("shop"))
        await follower.until(lambda: follower.named("Service") == ["b"])
        api.put(SERVICES, service("a", port=81))
        api.put(SERVICES, service("d"))
        api.put(SERVICES, service("b", namespace="other", port=81))
        await follower.until(lambda: len(follower.batches[-1].upserts) == 1)
        assert follower.objects == await fresh(options)
        api.put(MESH, mesh(""))
        await follower.until(lambda: follower.named("Service") == ["b", "a", "d"])
        api.put(MESH, mesh(SELECT))
        await follower.until(lambda: follower.named("Service") == ["b"])
        api.put(MESH, mesh("discoverySelectors: 7"))
        api.put(NAMESPACES, namespace("third", mesh="on"))
        await follower.until(lambda: follower.has("Namespace", "third", namespace=""))
        assert follower.named("Service") == ["b"]  # a mesh configuration that cannot be read selects as before


async def test_objects_of_another_revision_do_not_count(api: RecordedApi) -> None:
    options = ClusterOptions(kubeconfig=api.kubeconfig, revision="blue")
    label = "istio.io/rev"
    api.put(MESH, mesh("rootNamespace: x", "istio"))
    api.put(MESH, mesh("rootNamespace: z", "istio-blue"))
    api.put(VIRTUAL_SERVICES, virtual_service("for-all"))
    api.put(VIRTUAL_SERVICES, virtual_service("mine", labels={label: "blue"}))
    api.put(VIRTUAL_SERVICES, virtual_service("other", labels={label: "green"}))
    api.put(VIRTUAL_SERVICES, virtual_service("broken", hosts=7, labels={label: "green"}))
    api.put(SERVICES, service("a", labels={label: "green"}))
    async with followed(options) as follower:
        assert follower.named("VirtualService") == ["for-all", "mine"]
        assert follower.named("Service") == ["a"]
        assert not follower.source.rejected
        (config,) = [obj for key, obj in follower.objects.items() if key.kind == kinds.CONFIG_MAP]
        assert (config.meta.name, config.spec.data) == ("istio", {"mesh": "rootNamespace: z"})
        api.put(VIRTUAL_SERVICES, virtual_service("mine", labels={label: "green"}))
        api.put(VIRTUAL_SERVICES, virtual_service("other", labels={label: "blue"}))
        await follower.until(lambda: follower.named("VirtualService") == ["for-all", "other"])


async def test_watched_namespaces_are_asked_for_alone(api: RecordedApi) -> None:
    options = ClusterOptions(kubeconfig=api.kubeconfig, namespaces=("bank", "shop"))
    bank = SERVICES.replace("services", "namespaces/bank/services")
    shop = SERVICES.replace("services", "namespaces/shop/services")
    api.put(bank, service("b", namespace="bank"))
    api.put(shop, service("a"))
    api.put(NAMESPACES, namespace("shop"))
    api.put(NAMESPACES, namespace("other"))
    api.put(MESH, mesh("rootNamespace: x"))
    async with followed(options) as follower:
        assert follower.named("Service") == ["b", "a"]
        assert follower.named("Namespace") == ["shop"]
        assert follower.named("ConfigMap") == ["istio"]
        await follower.until(lambda: api.watching(shop) == 1)
        api.put(shop, service("c"))
        await follower.until(lambda: follower.has("Service", "c"))
    assert not api.asked(SERVICES, "list")
    assert len(api.asked("/api/v1/nodes", "list")) == 1


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        pytest.param({}, True, id="empty"),
        pytest.param({"matchLabels": {"a": "1"}}, True, id="equal"),
        pytest.param({"matchLabels": {"a": "1", "c": "3"}}, False, id="all-must-be-equal"),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "In", "values": ["0", "1"]}]}, True, id="in"),
        pytest.param({"matchExpressions": [{"key": "c", "operator": "In", "values": ["1"]}]}, False, id="in-absent"),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False, id="not-in"),
        pytest.param(
            {"matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["1"]}]}, True, id="not-in-absent"
        ),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True, id="exists"),
        pytest.param({"matchExpressions": [{"key": "c", "operator": "Exists"}]}, False, id="exists-absent"),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False, id="does-not-exist"),
        pytest.param({"matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]}, True, id="absent"),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "Like"}]}, False, id="unknown-operator"),
    ],
)
def test_selectors(selector: dict[str, object], fits: bool) -> None:  # noqa: FBT001 - a column
    assert matches(LabelSelector.model_validate(selector), {"a": "1", "b": "2"}) is fits


def test_pauses_grow_to_a_limit_and_never_agree() -> None:
    random.seed(1)
    backoff = Backoff(1.0, 8.0)
    pauses = [backoff.pause() for _ in range(1100)]
    for pause, full in zip(pauses, (1, 2, 4, 8, 8, 8), strict=False):
        assert full / 2 <= pause <= full
    assert len(set(pauses)) == len(pauses)
    backoff.reset()
    assert backoff.pause() <= 1.0
    assert 30.0 <= backoff.pause(30.0) <= 33.0
