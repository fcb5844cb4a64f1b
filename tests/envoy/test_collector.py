"""OpenTelemetry's own collector takes what Envoys send it: spans and access logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from samples.control_plane import LOOPBACK, free_port
from tests.collector.build import COLLECTOR
from tests.envoy.conftest import missing
from tests.envoy.mesh import Json, Mesh
from tests.envoy.servers import started
from tests.envoy.test_telemetry import asked_until, by, collector, gateway, settings, telemetry

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH, WORD = "/collected", "told"


@pytest.fixture
def program() -> str:
    """The collector is there."""
    if not COLLECTOR.path.exists():
        missing("the collector is not there: `make collector` builds it")
    return str(COLLECTOR.path)


def configuration(port: int, file: Path) -> Json:
    """Return settings of a collector that takes spans and logs by gRPC, and writes each batch of them to a line."""
    through = {"receivers": ["otlp"], "exporters": ["file"]}
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"{LOOPBACK}:{port}"}}}},
        "exporters": {"file": {"path": str(file), "flush_interval": "100ms"}},
        "service": {"pipelines": {"traces": through, "logs": through}},
    }


def records(file: Path, signal: str, records_of_scope: str) -> Iterator[Any]:
    """Yield the spans (``Spans``, ``spans``) or log records (``Logs``, ``logRecords``) of lines that are whole."""
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            for of_resource in json.loads(line).get(f"resource{signal}", ()):
                for of_scope in of_resource[f"scope{signal}"]:
                    yield from of_scope[records_of_scope]


def attributes(record: Json) -> dict[str, str]:
    return {each["key"]: each["value"]["stringValue"] for each in record["attributes"]}


async def test_it_takes_spans_and_access_logs(mesh: Mesh, program: str, tmp_path: Path) -> None:
    """A request leaves a span with its tags, and a record with its text and its labels."""
    port, file, config = free_port(), tmp_path / "taken.json", tmp_path / "collector.yaml"
    config.write_text(yaml.safe_dump(configuration(port, file)))
    named = {"service": "otel.test", "port": 80}
    log_format = {"text": "%REQ(:PATH)%", "labels": {"word": "%REQ(X-WORD)%"}}
    async with started("the collector", [program, "--config", str(config)], tmp_path / "log", port):
        entrance = await gateway(
            mesh,
            settings(
                {"name": "spans", "opentelemetry": named},
                {"name": "logs", "envoyOtelAls": {**named, "logFormat": log_format}},
            ),
            collector("otel", port, "GRPC"),
            telemetry(
                tracing=[
                    by("spans", randomSamplingPercentage=100, customTags={"word": {"header": {"name": "x-word"}}})
                ],
                accessLogging=[by("logs")],
            ),
        )

        def logged() -> bool:
            found = records(file, "Logs", "logRecords")
            return any((each["body"], attributes(each)) == ({"stringValue": PATH}, {"word": WORD}) for each in found)

        def traced() -> bool:
            wanted = {"word": WORD, "http.method": "GET", "istio.namespace": "default"}
            return any(wanted.items() <= attributes(each).items() for each in records(file, "Spans", "spans"))

        await asked_until(entrance, logged, "the collector has a log record", PATH, **{"x-word": WORD})
        await asked_until(entrance, traced, "the collector has a span", PATH, **{"x-word": WORD})
