"""Statuses as the watches bring them: what they say is kept, and a change of one alone is no change of an object."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.status import Condition
from controlplane.watchers.kubernetes.source import ClusterOptions
from tests.watchers.kubernetes.following import followed
from tests.watchers.kubernetes.recorded_api import SERVICES, VIRTUAL_SERVICES, RecordedApi
from tests.watchers.kubernetes.test_faults import service, virtual_service

pytestmark = pytest.mark.slow

WORKLOAD_ENTRIES = VIRTUAL_SERVICES.replace("virtualservices", "workloadentries")
INGRESSES = "/apis/networking.k8s.io/v1/ingresses"
KEY = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "a")
OURS = {
    "type": "Reconciled",
    "status": "True",
    "reason": "Accepted",
    "message": "m",
    "observedGeneration": "4",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RecordedApi]:
    async with RecordedApi(tmp_path) as running:
        yield running


def status(*conditions: Any) -> dict[str, Any]:
    return {"status": {"observedGeneration": 4, "conditions": list(conditions)}}


async def test_a_status_alone_changes_no_object(api: RecordedApi) -> None:
    """Neither of a kind whose conditions nobody reads, nor of a WorkloadEntry, of which one matters."""
    entry: dict[str, Any] = {"metadata": {"namespace": "shop", "name": "e"}, "spec": {"address": "10.0.0.1"}}
    api.put(VIRTUAL_SERVICES, virtual_service("a", generation=4))
    api.put(WORKLOAD_ENTRIES, entry)
    async with followed(ClusterOptions(kubeconfig=api.kubeconfig)) as follower:
        source = follower.source
        other = {"type": "Other", "status": "False"}
        with source.statuses.subscribe() as told:
            api.put(VIRTUAL_SERVICES, virtual_service("a", generation=4) | status(other, OURS))
            api.put(WORKLOAD_ENTRIES, entry | status(OURS))
            await follower.until(lambda: all(each.written.condition is not None for each in source.received()))
            assert told.is_set()
        found = source.find(KEY)
        assert found is not None
        assert (found.generation, found.version, found.problems) == (4, "v1", ())
        assert found.written.condition == Condition("True", "Accepted", "m", 4)
        assert (found.written.position, found.written.since) == (1, OURS["lastTransitionTime"])
        assert follower.batches == []
        api.put(WORKLOAD_ENTRIES, entry | status(OURS, {"type": "Healthy", "status": "True"}))
        await follower.until(lambda: len(follower.batches) == 1)
        assert follower.batches[0].upserts[0].meta.conditions == {"Healthy": "True"}


async def test_other_peoples_conditions_are_told_too(api: RecordedApi) -> None:
    """They make a newer version of the object: what was refused for the one before can be written now."""
    api.put(VIRTUAL_SERVICES, virtual_service("a") | status({"type": "Other", "message": "1"}, OURS))
    async with followed(ClusterOptions(kubeconfig=api.kubeconfig)) as follower:
        with follower.source.statuses.subscribe() as told:
            newer = api.put(VIRTUAL_SERVICES, virtual_service("a") | status({"type": "Other", "message": "2"}, OURS))
            await follower.until(told.is_set)
        found = follower.source.find(KEY)
        assert found is not None
        assert found.resource_version == newer["metadata"]["resourceVersion"]
        assert follower.batches == []


async def test_where_an_ingress_is_reached_is_kept_and_changes_no_object(api: RecordedApi) -> None:
    ingress: dict[str, Any] = {"metadata": {"namespace": "shop", "name": "a"}, "spec": {}}
    reached = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.test"}]}}}
    api.put(INGRESSES, ingress)
    async with followed(ClusterOptions(kubeconfig=api.kubeconfig)) as follower:
        key = ObjectKey(kinds.INGRESS, "shop", "a")
        with follower.source.statuses.subscribe() as told:
            api.put(INGRESSES, ingress | reached)
            await follower.until(told.is_set)
        found = follower.source.find(key)
        assert found is not None
        assert found.version == "v1"
        assert found.written.balancer == (("", "192.0.2.1"), ("lb.test", ""))
        assert follower.batches == []


async def test_a_refused_object_has_the_generation_that_is_refused(api: RecordedApi) -> None:
    api.put(VIRTUAL_SERVICES, virtual_service("a", generation=4))
    async with followed(ClusterOptions(kubeconfig=api.kubeconfig)) as follower:
        with follower.source.statuses.subscribe() as told:
            api.put(VIRTUAL_SERVICES, virtual_service("a", hosts=5, generation=5) | status(OURS))
            await follower.until(told.is_set)
        found = follower.source.find(KEY)
        assert found is not None
        assert found.generation == 5
        assert found.problems
        assert follower.objects[KEY].meta.generation == 4


async def test_somebody_elses_status_is_news_too(api: RecordedApi) -> None:
    """The newer version is what a writer waits for whose patch was too late; ours says the same in both."""
    other = {"type": "Other", "status": "False"}
    api.put(VIRTUAL_SERVICES, virtual_service("a", generation=4) | status(OURS, other))
    async with followed(ClusterOptions(kubeconfig=api.kubeconfig)) as follower:
        before = follower.source.find(KEY)
        with follower.source.statuses.subscribe() as told:
            api.put(VIRTUAL_SERVICES, virtual_service("a", generation=4) | status(OURS, other | {"status": "True"}))
            await follower.until(told.is_set)
        after = follower.source.find(KEY)
        assert before is not None
        assert after is not None
        assert after.written == before.written
        assert after.resource_version != before.resource_version
        assert follower.batches == []


async def test_a_newer_generation_that_is_refused_for_the_same_is_news(api: RecordedApi) -> None:
    """The status names the generation, and nothing else differs."""
    api.put(VIRTUAL_SERVICES, virtual_service("a", hosts=5, generation=5) | status(OURS))
    async with followed(ClusterOptions(kubeconfig=api.kubeconfig)) as follower:
        with follower.source.statuses.subscribe() as told:
            api.put(VIRTUAL_SERVICES, virtual_service("a", hosts=5, generation=6) | status(OURS))
            await follower.until(told.is_set)
        found = follower.source.find(KEY)
        assert found is not None
        assert found.generation == 6
        assert follower.batches == []


async def test_what_does_not_count_has_no_status_of_ours(api: RecordedApi) -> None:
    """Objects of other revisions and outside the watched namespaces belong to somebody else; services have none."""
    api.put(VIRTUAL_SERVICES, virtual_service("a", labels={"istio.io/rev": "canary"}))
    api.put(VIRTUAL_SERVICES, virtual_service("b"))
    api.put(SERVICES, service("s"))
    async with followed(ClusterOptions(kubeconfig=api.kubeconfig)) as follower:
        assert [each.key.name for each in follower.source.received()] == ["b"]
        assert follower.source.find(KEY) is None
        assert follower.source.find(ObjectKey(kinds.SERVICE, "shop", "s")) is None
