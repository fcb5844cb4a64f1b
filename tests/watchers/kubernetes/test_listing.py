"""What commands read of a cluster once: what cannot be read is told, and never taken for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from controlplane.cli.injection_sources import Cluster, Sources
from controlplane.watchers.kubernetes.listing import Wanted, listed
from controlplane.watchers.kubernetes.resources import CORE, ISTIO
from tests.watchers.kubernetes.recorded_api import SERVICES, VIRTUAL_SERVICES, RecordedApi, status

VIRTUAL_SERVICE = next(each for each in ISTIO if each.kind == "VirtualService")
SERVICE = next(each for each in CORE if each.kind == "Service")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RecordedApi]:
    async with RecordedApi(tmp_path) as api:
        yield api


@pytest.fixture
def _log_as_before() -> Iterator[None]:
    """Commands set for their whole process what is logged."""
    settings = structlog.get_config()
    yield
    structlog.configure(**settings)


async def test_a_kind_in_other_versions_is_told(api: RecordedApi) -> None:
    api.served[VIRTUAL_SERVICE.group, VIRTUAL_SERVICE.plural] = ["v2", "v2beta1"]
    found = await listed(api.kubeconfig, "", [Wanted(VIRTUAL_SERVICE)])
    assert found.objects == []
    assert found.refused == {VIRTUAL_SERVICE: "the server has v2, v2beta1, of which none is read"}


async def test_a_kind_that_the_server_does_not_have_has_no_objects(api: RecordedApi) -> None:
    del api.served[VIRTUAL_SERVICE.group, VIRTUAL_SERVICE.plural]
    assert await listed(api.kubeconfig, "", [Wanted(VIRTUAL_SERVICE)]) == ([], {})


async def test_a_kind_that_may_not_be_read_is_told_and_others_are_read(api: RecordedApi) -> None:
    api.put(SERVICES, {"metadata": {"name": "web", "namespace": "shop"}})
    api.answer_always(VIRTUAL_SERVICES, "list", status(403, "not you"))
    found = await listed(api.kubeconfig, "", [Wanted(VIRTUAL_SERVICE), Wanted(SERVICE)])
    assert [each["metadata"]["name"] for each in found.objects] == ["web"]
    assert found.refused == {VIRTUAL_SERVICE: "not you"}


@pytest.mark.usefixtures("_log_as_before")
async def test_who_injects_is_told_what_could_not_be_asked(api: RecordedApi) -> None:
    api.answer_always("/api/v1/nodes", "list", status(403, "not you"))
    sources = Sources()
    await asyncio.to_thread(sources.ask, Cluster(api.kubeconfig))
    assert "nodes cannot be read: not you" in sources.notes
