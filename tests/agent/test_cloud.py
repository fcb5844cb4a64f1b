"""What clouds say of a machine, by the answers that their documents show, from a server on this host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from controlplane.agent.cloud import machine
from controlplane.agent.environment import Environment, StartError
from controlplane.agent.node import node
from controlplane.agent.options import Machine, options
from controlplane.model.proxy import Locality

POD = {"POD_NAME": "vm-1", "POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.7"}
AMAZON = {"accountId": "123456789012", "availabilityZone": "us-west-2b", "instanceId": "i-1234567890abcdef0"}
GOOGLE = {
    "project/project-id": "my-project",
    "project/numeric-project-id": "1234",
    "instance/zone": "projects/1234/zones/us-central1-a",
    "instance/name": "vm-1",
    "instance/id": "77",
}
AZURE = {
    "name": "vm-1",
    "location": "westus",
    "zone": "3",
    "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
    "tagsList": [{"name": "Team", "value": "shop"}, {"name": "odd"}, "odd"],
}


@asynccontextmanager
async def metadata_server(
    status: int = 200, google: Mapping[str, str] = GOOGLE, token: str = "a-token"
) -> AsyncIterator[str]:
    """Run the server of all three; yield its address. Who does not prove to be a program is refused, as there."""

    async def given(request: web.Request) -> web.Response:
        assert request.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        return web.Response(text=token, status=status)

    async def amazon(request: web.Request) -> web.Response:
        known = request.headers.get("X-aws-ec2-metadata-token") == "a-token"
        return web.json_response({**AMAZON, "region": "us-west-2"}, status=status if known else 401)

    async def of_google(request: web.Request) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403)
        found = google.get(request.match_info["path"])
        return web.Response(status=404) if found is None else web.Response(text=found, status=status)

    async def azure(request: web.Request) -> web.Response:
        known = request.headers.get("Metadata") == "true" and request.query["api-version"]
        return web.json_response(AZURE, status=status if known else 400)

    application = web.Application()
    application.router.add_put("/latest/api/token", given)
    application.router.add_get("/latest/dynamic/instance-identity/document", amazon)
    application.router.add_get("/computeMetadata/v1/{path:.*}", of_google)
    application.router.add_get("/metadata/instance/compute", azure)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(cloud: str, address: str) -> Machine:
    return await machine(Environment({"CLOUD_PLATFORM": cloud, "CLOUD_METADATA_ADDRESS": address}))


@pytest.mark.parametrize(
    ("cloud", "locality", "metadata"),
    [
        (
            "aws",
            Locality("us-west-2", "us-west-2b"),
            {
                "aws_region": "us-west-2",
                "aws_availability_zone": "us-west-2b",
                "aws_instance_id": "i-1234567890abcdef0",
            },
        ),
        (
            "gcp",
            Locality("us-central1", "us-central1-a"),
            {
                "gcp_project": "my-project",
                "gcp_project_number": "1234",
                "gcp_location": "us-central1-a",
                "gcp_gce_instance": "vm-1",
                "gcp_gce_instance_id": "77",
            },
        ),
        (
            "Azure",
            Locality("westus", "3"),
            {"azure_name": "vm-1", "azure_location": "westus", "azure_vmId": AZURE["vmId"], "azure_Team": "shop"},
        ),
    ],
)
async def test_a_cloud_says_where_the_machine_is(cloud: str, locality: Locality, metadata: dict[str, str]) -> None:
    async with metadata_server() as address:
        assert await asked(cloud, address) == Machine(metadata, locality)


async def test_a_cluster_of_a_region_has_no_zone_and_a_page_of_its_own() -> None:
    cluster = {"instance/attributes/cluster-location": "us-central1", "instance/attributes/cluster-name": "one"}
    async with metadata_server(google={**GOOGLE, **cluster}) as address:
        found = await asked("gcp", address)
    assert found.locality == Locality("us-central1")
    page = "https://container.googleapis.com/v1/projects/my-project/locations/us-central1/clusters/one"
    assert found.metadata["gcp_gke_cluster_url"] == page


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
async def test_a_cloud_that_does_not_say_it_is_passed_over(cloud: str) -> None:
    async with metadata_server(status=500) as address:
        with capture_logs() as logs:
            assert await asked(cloud, address) == Machine()
    ((event, reason),) = [(each["event"], each["reason"]) for each in logs]
    assert event == "agent.cloud_unknown"
    assert "status 500" in reason


async def test_nobody_is_asked_unless_a_cloud_is_named() -> None:
    """An address at which nothing could answer would be told of in the log."""
    with capture_logs() as logs:
        for cloud in ("", "none"):
            assert await asked(cloud, "127.0.0.1:1") == Machine()
    assert not logs
    with pytest.raises(StartError, match="CLOUD_PLATFORM: 'moon' is not known"):
        await asked("moon", "127.0.0.1:1")
    with pytest.raises(StartError, match="CLOUD_METADATA_ADDRESS: 'x' is not an address"):
        await asked("aws", "x")


STATED = "my-project|1234|one|us-central1"
OF_STATED = {
    "gcp_project": "my-project",
    "gcp_project_number": "1234",
    "gcp_gke_cluster_name": "one",
    "gcp_location": "us-central1",
    "gcp_gke_cluster_url": "https://container.googleapis.com/v1/projects/my-project/locations/us-central1/clusters/one",
}


async def test_a_machine_of_googles_may_be_stated() -> None:
    """``GCP_METADATA`` alone asks nobody; with the server it wins, and the server says the rest, if it is there."""
    stated = {"GCP_METADATA": STATED}
    assert await machine(Environment(stated)) == Machine(OF_STATED, Locality("us-central1"))
    named = {**stated, "CLOUD_PLATFORM": "gcp", "CLOUD_METADATA_ADDRESS": "127.0.0.1:1"}
    assert await machine(Environment(named)) == Machine(OF_STATED, Locality("us-central1"))
    async with metadata_server() as address:
        both = await machine(Environment({**named, "CLOUD_METADATA_ADDRESS": address}))
        rest = {"gcp_gce_instance": "vm-1", "gcp_gce_instance_id": "77"}
        assert both == Machine(OF_STATED | rest, Locality("us-central1"))
        some = await machine(Environment({**named, "CLOUD_METADATA_ADDRESS": address, "GCP_METADATA": "p|||"}))
    assert (some.metadata["gcp_project"], some.metadata["gcp_project_number"]) == ("p", "1234")
    assert some.locality == Locality("us-central1", "us-central1-a")
    zone = await machine(Environment({"GCP_METADATA": "p|1|c|europe-west1-b"}))
    assert zone.locality == Locality("europe-west1", "europe-west1-b")


@pytest.mark.parametrize("text", ["my-project", "a|b|c|d|e"])
async def test_a_statement_of_another_form_is_passed_over(text: str) -> None:
    with capture_logs() as logs:
        assert await machine(Environment({"GCP_METADATA": text})) == Machine()
    assert [each["event"] for each in logs] == ["agent.cloud_unknown"]


def test_labels_come_before_what_the_cloud_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = Machine({"aws_region": "us-west-2"}, Locality("us-west-2", "us-west-2b"))

    def said(**variables: str) -> dict[str, Any]:
        return node(replace(options(["sidecar"], {**POD, **variables}), machine=found))

    assert said()["locality"] == {"region": "us-west-2", "zone": "us-west-2b", "sub_zone": ""}
    assert said()["metadata"]["PLATFORM_METADATA"] == {"aws_region": "us-west-2"}
    labelled = said(ISTIO_METAJSON_LABELS='{"topology.istio.io/locality": "here/there"}')
    assert labelled["locality"] == {"region": "here", "zone": "there", "sub_zone": ""}


@pytest.mark.parametrize("token", ["a\nHost: elsewhere", "\x00", "schl\u00fcssel", "\u20ac"])
async def test_a_token_that_no_header_can_have_is_no_reason_not_to_start(token: str) -> None:
    async with metadata_server(token=token) as address:
        with capture_logs() as logs:
            assert await asked("aws", address) == Machine()
    assert [each["event"] for each in logs] == ["agent.cloud_unknown"]
