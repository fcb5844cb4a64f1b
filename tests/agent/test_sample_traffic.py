"""What the sample runner concludes from answers: shares, changes, and which directory it serves."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from controlplane.agent.addresses import TcpAddress
from samples.control_plane import ControlPlane, free_port
from samples.run import CANARY, GATEWAY_PORT, VERSIONS, WEB_PORT, described, differs, relocated
from samples.traffic import Answer, canary_weights, objects, split, weights_problem
from tests.admin import world

V1, V2 = Answer(200, "v1", "/"), Answer(200, "v2", "/")


@pytest.mark.parametrize(
    ("answers", "weights", "problem"),
    [
        pytest.param([V1] * 360 + [V2] * 40, {"v1": 90, "v2": 10}, "", id="exact"),
        pytest.param([V1] * 340 + [V2] * 60, {"v1": 90, "v2": 10}, "", id="chance"),
        pytest.param([V1] * 200 + [V2] * 200, {"v1": 90, "v2": 10}, "200 of 400 from v1", id="too-even"),
        pytest.param([V1] * 399 + [V2], {"v1": 100, "v2": 0}, "399 of 400 from v1", id="none-allowed"),
        pytest.param([V1] * 399 + [Answer(503)], {"v1": 100}, "1 unexpected", id="failure"),
        pytest.param([Answer(200, "v3")], {"v1": 100}, "1 unexpected", id="stranger"),
    ],
)
def test_weights_problem(answers: list[Answer], weights: dict[str, int], problem: str) -> None:
    """Chance is allowed for, anything else is named."""
    got = weights_problem(answers, weights)
    assert got.startswith(problem)
    assert bool(got) == bool(problem)


def test_split_names_versions_and_statuses() -> None:
    assert split([V1, V1, V2, Answer(503)]) == "status 503 1, v1 2, v2 1"


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        pytest.param([V1] * 86 + [V2] * 14, False, id="chance"),
        pytest.param([V1] * 50 + [V2] * 50, True, id="other-weights"),
        pytest.param([V1] * 100, False, id="none-by-chance"),
        pytest.param([Answer(503)] * 100, True, id="failing"),
    ],
)
def test_differs(now: list[Answer], changed: bool) -> None:  # noqa: FBT001
    """Only what chance does not explain is a change."""
    assert differs([V1] * 180 + [V2] * 20, now) is changed


def test_the_sample_uses_the_ports_and_addresses_that_the_runner_serves() -> None:
    """The numbers in the YAML and in the runner are the same ones."""
    kinds = {f"{obj['kind']} {obj['metadata']['name']}": obj for obj in objects(CANARY)}
    endpoint_slice = kinds["EndpointSlice web-1"]
    assert [endpoint["addresses"] for endpoint in endpoint_slice["endpoints"]] == [[ip] for ip in VERSIONS.values()]
    assert endpoint_slice["ports"][0]["port"] == WEB_PORT
    assert kinds["Gateway ingress"]["spec"]["servers"][0]["port"]["number"] == GATEWAY_PORT
    assert set(canary_weights(CANARY)) == set(VERSIONS)


def test_a_taken_port_makes_a_copy_with_another(tmp_path: Path) -> None:
    """The directory itself is served while its ports are free; else a copy, changed in every place."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.yaml").write_text(yaml.safe_dump({"gateway": GATEWAY_PORT, "web": WEB_PORT}))
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((VERSIONS["v1"], WEB_PORT))
        taken.listen()
        copy, ports = relocated(source, tmp_path)
    assert copy != source
    assert ports[WEB_PORT] != WEB_PORT
    assert yaml.safe_load((copy / "a.yaml").read_text()) == {"gateway": ports[GATEWAY_PORT], "web": ports[WEB_PORT]}


def test_described_says_why_a_file_is_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("spec: [")
    assert described(tmp_path).startswith("nothing of use (while parsing")
    (tmp_path / "a.yaml").write_text("")
    assert "no route named canary" in described(tmp_path)


async def test_what_the_control_plane_says_against_the_files(tmp_path: Path) -> None:
    """What is refused is in the file and not in force; who watches the split is told."""
    control_plane = ControlPlane(tmp_path, tmp_path / "log")
    assert await control_plane.problems() == []
    async with world.serving(world.sources()) as address:
        host, _, port = address.rpartition(":")
        control_plane.monitoring = TcpAddress(host, int(port))
        assert await control_plane.problems() == ["shop.yaml:12: spec.http[0]: no destination"]
