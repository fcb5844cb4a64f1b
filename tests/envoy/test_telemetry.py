"""Telemetry as collectors meet it: a real Envoy sends logs and spans, and the receivers are real servers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web as http
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces  # type: ignore[import-untyped]

from controlplane.documents.json_reader import json_value
from samples.control_plane import LOOPBACK
from samples.traffic import Entrance, send
from tests.envoy.mesh import Json, Mesh, eventually, istio, routes, service, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

# what these older messages call instrumentation_library_spans and _logs has another name today, and the same number
COLLECTOR = "/opentelemetry.proto.collector."
TRACES, LOGS = f"{COLLECTOR}trace.v1.TraceService/Export", f"{COLLECTOR}logs.v1.LogsService/Export"
ALS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


class Zipkin:
    """A receiver of spans by HTTP, in Zipkin's JSON; of other requests it keeps whether they carry a trace on."""

    def __init__(self) -> None:
        self.spans: list[Json] = []
        self.carried: list[bool] = []
        self.port = 0
        self._runner: http.AppRunner | None = None

    async def start(self) -> None:
        application = http.Application()
        application.router.add_post("/api/v2/spans", self._take)
        application.router.add_get("/{path:.*}", self._answer)
        self._runner = http.AppRunner(application)
        await self._runner.setup()
        await http.TCPSite(self._runner, LOOPBACK, 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: http.Request) -> http.Response:
        self.spans += await request.json()
        return http.Response(status=202)

    async def _answer(self, request: http.Request) -> http.Response:
        self.carried.append("x-b3-traceid" in request.headers)
        return http.Response()


class Collector(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # no generic class at run time
    """A receiver by gRPC: OpenTelemetry's spans and logs, and Envoy's access logs."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"{LOOPBACK}:0")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        match handler_call_details.method:
            case method if method == TRACES:
                answer: Any = partial(self._take, traces.ExportTraceServiceResponse())
                request: Any = traces.ExportTraceServiceRequest
            case method if method == LOGS:
                answer, request = partial(self._take, logs.ExportLogsServiceResponse()), logs.ExportLogsServiceRequest
            case method if method == ALS:
                return grpc.stream_unary_rpc_method_handler(
                    self._stream, StreamAccessLogsMessage.FromString, StreamAccessLogsResponse.SerializeToString
                )
            case _:
                return None
        return grpc.unary_unary_rpc_method_handler(answer, request.FromString, type(answer.args[0]).SerializeToString)

    async def _take(self, answer: Message, request: Message, _context: object) -> Message:
        self.taken.append(request)
        return answer

    async def _stream(self, requests: Any, _context: object) -> StreamAccessLogsResponse:
        async for request in requests:
            self.taken.append(request)
        return StreamAccessLogsResponse()


def collector(name: str, port: int, protocol: str) -> Json:
    return istio(
        "ServiceEntry",
        name,
        hosts=[f"{name}.test"],
        ports=[{"number": 80, "name": "port", "protocol": protocol}],
        resolution="STATIC",
        endpoints=[{"address": LOOPBACK, "ports": {"port": port}}],
    )


def settings(*providers: Json) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": json.dumps({"extensionProviders": providers})},
    }


def telemetry(**spec: Any) -> Json:
    metadata = {"name": "telemetry", "namespace": "default"}
    return {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": metadata, "spec": spec}


def by(provider: str, **more: Any) -> Json:
    return {"providers": [{"name": provider}], **more}


async def gateway(mesh: Mesh, *objects: Json) -> Entrance:
    """Return a gateway with a backend behind it, and with these objects in force or soon so."""
    entrance = await mesh.gateway()
    mesh.write(service([await mesh.backend("v1")]), routes({"route": [to()]}), *objects)
    return entrance


async def asked_until(entrance: Entrance, condition: Any, what: str, path: str = "/", **headers: str) -> None:
    """Send requests until something has come of one of them."""

    async def holds() -> bool:
        await send(entrance, path, headers, 1)
        return bool(condition())

    await eventually(holds, what)


@pytest.mark.parametrize("kind", ["zipkin", "opentelemetry"])
async def test_spans(mesh: Mesh, kind: str) -> None:
    """Each request makes a span with the tags that are stated and those of Istio."""
    provider = {"name": "spans", kind: {"service": "spans.test", "port": 80}}
    server: Any = await mesh.serving(Zipkin() if kind == "zipkin" else Collector())
    tags = {
        "word": {"header": {"name": "x-word", "defaultValue": "none"}},
        "path": {"formatter": {"value": "%REQ(:PATH)%"}},
    }
    entrance = await gateway(
        mesh,
        settings(provider),
        collector("spans", server.port, "HTTP" if kind == "zipkin" else "GRPC"),
        telemetry(tracing=[by("spans", randomSamplingPercentage=100, customTags=tags)]),
    )

    def found() -> list[dict[str, str]]:
        if kind == "zipkin":
            return [span["tags"] for span in server.spans]
        return [
            {tag.key: tag.value.string_value for tag in span.attributes}
            for request in server.taken
            for of_resource in request.resource_spans
            for of_scope in of_resource.instrumentation_library_spans
            for span in of_scope.spans
        ]

    def tagged() -> bool:
        return any(
            (each.get("word"), each.get("path"), each.get("istio.namespace")) == ("told", "/traced", "default")
            for each in found()
        )

    await asked_until(entrance, tagged, "a span of the request arrives", "/traced", **{"x-word": "told"})


async def test_requests_need_not_carry_the_trace_on(mesh: Mesh) -> None:
    """Spans arrive all the same."""
    server = await mesh.serving(Zipkin())
    spans = by("spans", randomSamplingPercentage=100)
    entrance = await mesh.gateway()
    mesh.write(
        service([{"address": LOOPBACK, "ports": {"http": server.port}}]),
        routes({"route": [to()]}),
        settings({"name": "spans", "zipkin": {"service": "spans.test", "port": 80}}),
        collector("spans", server.port, "HTTP"),
        telemetry(tracing=[spans]),
    )
    await asked_until(entrance, lambda: server.carried[-1:] == [True], "a request carries the trace on")
    mesh.write(telemetry(tracing=[spans | {"disableContextPropagation": True}]))
    await asked_until(entrance, lambda: server.carried[-1:] == [False], "a request does not carry it on")
    server.spans.clear()
    await asked_until(entrance, lambda: server.spans, "a span arrives")
    assert not server.carried[-1]


async def test_access_logs_by_grpc(mesh: Mesh) -> None:
    """Envoy's own service and OpenTelemetry's collector each get the entries that their filters let through."""
    server = await mesh.serving(Collector())
    named = {"service": "logs.test", "port": 80}
    entrance = await gateway(
        mesh,
        settings(
            {"name": "als", "envoyHttpAls": {**named, "logName": "mine"}},
            {
                "name": "otel",
                "envoyOtelAls": {**named, "logFormat": {"text": "%REQ(:PATH)%", "labels": {"a": "%PROTOCOL%"}}},
            },
        ),
        collector("logs", server.port, "GRPC"),
        telemetry(
            accessLogging=[
                by("als", filter={"expression": "request.url_path == '/als'"}),
                by("otel", filter={"expression": "request.url_path.startsWith('/otel')"}),
            ]
        ),
    )

    def als() -> list[str]:
        return [
            entry.request.path
            for message in server.taken
            if isinstance(message, StreamAccessLogsMessage)
            for entry in message.http_logs.log_entry
        ]

    def otel() -> list[tuple[str, str]]:
        return [
            (record.body.string_value, next(each.value.string_value for each in record.attributes if each.key == "a"))
            for message in server.taken
            if isinstance(message, logs.ExportLogsServiceRequest)
            for of_resource in message.resource_logs
            for of_scope in of_resource.instrumentation_library_logs
            for record in of_scope.logs
        ]

    await asked_until(entrance, als, "an entry arrives at Envoy's service", "/als")
    await asked_until(entrance, otel, "an entry arrives at the collector", "/otel/a")
    assert set(als()) == {"/als"}
    assert set(otel()) == {("/otel/a", "HTTP/1.1")}
    assert {each.identifier.log_name for each in server.taken if isinstance(each, StreamAccessLogsMessage)} >= {"mine"}


async def test_access_log_in_a_file(mesh: Mesh, tmp_path: Path) -> None:
    """Only what the filter is true of is written; without the Telemetry nothing more is."""
    path = tmp_path / "log"
    form = {"labels": {"path": "%REQ(:PATH)%", "code": "%RESPONSE_CODE%"}}
    file = {"name": "file", "envoyFileAccessLog": {"path": str(path), "logFormat": form}}
    only = by("file", filter={"expression": "'x-log' in request.headers"})
    entrance = await gateway(mesh, settings(file), telemetry(accessLogging=[only]))

    def entries() -> list[Json]:
        return [json_value(line) for line in path.read_text().splitlines()] if path.exists() else []

    await send(entrance, "/silent", {}, 3)
    await asked_until(entrance, entries, "an entry is written", "/logged", **{"x-log": "1"})
    assert {(entry["path"], entry["code"]) for entry in entries()} == {("/logged", 200)}
