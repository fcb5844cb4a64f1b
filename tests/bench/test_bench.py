"""The bench's parts that need no Go: the mesh and its marks, the recordings, the floor, the table."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from bench.admin import PAGES, PageFigures, admin_table, missed_pages
from bench.floor import responses
from bench.mesh import CLUSTER, ENDPOINT, Mesh
from bench.phases import Figures
from bench.run import ROWS, arguments, as_json, comparison, missed_aims, problems
from bench.storm import Storm, storm_problems, storm_table
from bench.subject import Floor

TOP = Path(__file__).resolve().parents[2]
KINDS = ["endpoint", "burst", "virtual-service", "new-service"]


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    (tmp_path / "mesh").mkdir()
    return Mesh(tmp_path / "mesh", services=20, endpoints=3, namespaces=4)


def test_mesh_is_services_with_their_endpoints(mesh: Mesh) -> None:
    mesh.write()
    objects = [obj for path in mesh.directory.glob("*.yaml") for obj in yaml.safe_load_all(path.read_text())]
    services = [obj for obj in objects if obj["kind"] == "Service"]
    slices = [obj for obj in objects if obj["kind"] == "EndpointSlice"]
    assert len(services) == len(slices) == 20
    assert {service["metadata"]["namespace"] for service in services} == {"ns-0", "ns-1", "ns-2", "ns-3"}
    addresses = [endpoint["addresses"][0] for slice_ in slices for endpoint in slice_["endpoints"]]
    assert len(set(addresses)) == len(addresses) == 60


@pytest.mark.parametrize("kind", KINDS)
def test_change_is_known_by_its_mark(mesh: Mesh, kind: str) -> None:
    """The mark is in what the change writes, and was not there before: neither itself nor within another text."""
    mesh.write()
    for number in range(3):
        text = mesh.mark(kind, number).text.removeprefix("outbound|80||").partition(".ns-")[0]
        assert all(text not in path.read_text() for path in mesh.directory.iterdir())
        mesh.change(kind, number)
        assert any(text in path.read_text() for path in mesh.directory.iterdir())


def test_unknown_change(mesh: Mesh) -> None:
    with pytest.raises(ValueError, match="gateway"):
        mesh.change("gateway", 0)


def response(type_url: str, nonce: str) -> bytes:
    return bytes(DeltaDiscoveryResponse(type_url=type_url, nonce=nonce).SerializeToString())


def record(path: Path, *bodies: bytes) -> None:
    path.write_bytes(b"".join(struct.pack(">I", len(body)) + body for body in bodies))


def test_recording_is_read_back(tmp_path: Path) -> None:
    bodies = [response(CLUSTER, "a"), response(ENDPOINT, "b" * 300)]
    record(tmp_path / "connect", *bodies)
    assert responses(tmp_path / "connect") == bodies


async def asked(channel: grpc.aio.Channel) -> Any:
    """Return a stream whose first request was answered; one that comes before the command is not."""
    while True:
        stream: Any = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        await stream.write(DeltaDiscoveryRequest(type_url=CLUSTER))
        with suppress(TimeoutError):
            assert (await asyncio.wait_for(stream.read(), 5)).nonce == "first"
            return stream
        stream.cancel()


async def test_floor_replays(tmp_path: Path) -> None:
    """A first request gets its type's responses, an acknowledgement nothing, and a change goes to the open stream."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    record(recordings / "connect", response(CLUSTER, "first"), response(ENDPOINT, "other"))
    record(recordings / "endpoint-0", response(ENDPOINT, "changed"))
    with Floor(recordings, tmp_path / "log") as floor:
        floor.begin("connect")
        async with grpc.aio.insecure_channel(floor.address) as channel:
            stream = await asked(channel)
            await stream.write(DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce="first"))
            floor.change("endpoint", 0)
            assert (await stream.read()).nonce == "changed"
        assert floor.usage().peak_bytes > 1_000_000


def figures(cpu: float, **other: int) -> Figures:
    defaults = {"bytes": 1000, "messages": 4, "lost": 0}
    latencies = (timedelta(seconds=1), timedelta(seconds=3), timedelta(seconds=2))
    return Figures(timedelta(seconds=cpu), timedelta(seconds=5), **{**defaults, **other}, work=2, latencies=latencies)


def test_table_has_a_line_for_each_figure() -> None:
    phases = ["connect", "idle", *KINDS, "reconnect"]
    measured, floor = {phase: figures(6) for phase in phases}, {phase: figures(2) for phase in phases}
    table = comparison([measured], [floor])
    ratios = dict(zip([row.name for row in ROWS], table.columns[5].cells, strict=True))
    assert ratios["endpoint change, CPU"] == ratios["first connect, CPU"] == "3"
    assert ratios["endpoint change, to the last proxy"] == "1"


def test_figures_are_medians_over_the_runs() -> None:
    """Each server's own, so that one bad run of either changes nothing."""
    measured = [{"connect": figures(cpu)} for cpu in (12, 120, 8)]
    floor = [{"connect": figures(cpu)} for cpu in (4, 6, 40)]
    cells = [next(iter(column.cells)) for column in comparison(measured, floor).columns]
    assert cells == ["first connect, CPU", "s", "[red]6[/red]", "3", "3", "2", "54.9"]


def test_missed_aims_are_named() -> None:
    """By the median, and as it is printed: 3.004 is 3."""
    assert list(missed_aims([{"connect": figures(12)}])) == ["first connect, CPU: 6 s, and the aim is 3"]
    assert not list(missed_aims([{"connect": figures(cpu)} for cpu in (6, 6.008, 18)]))


def page(name: str, held_ms: float) -> PageFigures:
    elapsed, cpu = timedelta(milliseconds=20), timedelta(milliseconds=10)
    return PageFigures(name, 2_000_000, elapsed, cpu, timedelta(milliseconds=held_ms))


def test_pages_that_hold_the_loop_are_named() -> None:
    figures = [page("", 0.1), page("/debug/syncz", 4.9), page("/metrics", 5.2)]
    assert list(missed_pages(figures)) == ["/metrics: the loop is held for 5.2 ms"]
    columns = [list(column.cells) for column in admin_table(figures).columns]
    assert columns[0] == ["(none)", "/debug/syncz", "/metrics"]
    assert columns[4] == ["0.1", "4.9", "[red]5.2[/red]"]


def test_document_has_every_page() -> None:
    rows = re.findall(r"^\| (/\S+|\(none\)) +\|", (TOP / "bench" / "README.md").read_text(), re.MULTILINE)
    assert rows == [name or "(none)" for name in PAGES]


def test_sizes_are_those_that_the_figures_are_of() -> None:
    """Where nothing else is said."""
    plain, admin, told = (arguments(argv) for argv in ([], ["--admin"], ["--admin", "--proxies", "7"]))
    assert (plain.services, plain.proxies) == (1_000, 500)
    assert (admin.services, admin.proxies) == (5_000, 1_000)
    assert (told.services, told.proxies) == (5_000, 7)


def test_runs_are_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments(["--runs", "3"]).runs == 3
    with pytest.raises(SystemExit):
        arguments(["--runs", "0"])
    assert "invalid positive value: '0'" in capsys.readouterr().err


def test_json_has_every_run() -> None:
    servers = json.loads(as_json({"floor": [{"connect": figures(2)}, {"connect": figures(3)}]}))
    assert [run["connect"]["cpu"] for run in servers["floor"]] == [2, 3]


def test_document_has_every_figure() -> None:
    """The table in the README is that of the program."""
    rows = re.findall(r"^\| ([^|]+?) +\| (?:s|ms|GB|MB|%) ", (TOP / "bench" / "README.md").read_text(), re.MULTILINE)
    assert rows == [row.name for row in ROWS]


def test_doubts_are_named() -> None:
    doubtful = {"connect": figures(1, messages=0), "endpoint": figures(1, missed=2), "reconnect": figures(1, lost=3)}
    assert len(list(problems("floor", doubtful))) == 3
    assert not list(problems("floor", {"connect": figures(1)}))


def test_a_storm_is_judged_by_who_came_in_by_changes_and_by_memory() -> None:
    second = timedelta(seconds=1)
    good = Storm(2000, 12 * second, 4 * second, (second / 3, second / 2), 9, 185_000_000)
    assert list(storm_problems(good)) == []
    assert [next(iter(column.cells)) for column in storm_table(good).columns][2:] == ["12", "-"]
    bad = Storm(2000, None, 4 * second, (second / 3, None, 2 * second), 9, 601_000_000)
    assert list(storm_problems(bad)) == [
        "not all proxies came in",
        "a change after the storm took longer than 1 s",
        "the memory came to 601 MB",
    ]
