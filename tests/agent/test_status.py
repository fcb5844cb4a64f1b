"""The status port: metrics put together, the kubelet's probes passed on, the workload's own health."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import Environment, StartError
from controlplane.agent.http.client import Kept, NoAnswerError, Reply, ask
from controlplane.agent.http.client import Request as Question
from controlplane.agent.http.server import Answer, HttpServer, Request, Response
from controlplane.agent.proxy_config import ProxyConfig
from controlplane.agent.status.merged import (
    MOST_AT_ONCE,
    MergedMetrics,
    Target,
    application_accept,
    content_type,
    envoy_accept,
    targets,
)
from controlplane.agent.status.pages import Pages
from controlplane.agent.status.probes import Probes, probes
from controlplane.agent.workload_health import HealthProbe, WorkloadHealth
from tests.patience import patience, until

LOOPBACK = "127.0.0.1"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class App:
    """An application: answers every path as it is told to, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, tuple[int, str, dict[str, str]]]) -> None:
        self.answers = dict(answers)
        self.connections: list[asyncio.Transport] = []  # of each request
        self.asked: list[web.BaseRequest] = []
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request)
        assert request.transport is not None
        self.connections.append(request.transport)
        status, text, headers = self.answers.get(request.path, (404, "", {}))
        return web.Response(status=status, body=text.encode(), headers=headers)

    def end_connections(self) -> None:
        for each in self.connections:
            each.abort()


@asynccontextmanager
async def app(**answers: Any) -> AsyncIterator[App]:
    running = App({f"/{path}": (*answer, {})[:3] for path, answer in answers.items()})
    server = web.Server(running.answer)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0)
    await site.start()
    running.port = runner.addresses[0][1]
    try:
        yield running
    finally:
        await runner.cleanup()


@asynccontextmanager
async def agent(pages: Pages) -> AsyncIterator[TcpAddress]:
    server = HttpServer(pages.answer)
    try:
        yield await server.start(TcpAddress(LOOPBACK, 0))
    finally:
        await server.stop()


async def get(where: TcpAddress, path: str, **headers: str) -> Reply:
    return await ask(Question(where, path, headers=tuple(headers.items())))


async def scraped(envoy: int | None, *applications: Target, accept: str = "", query: str = "") -> Reply:
    merged = MergedMetrics(LOOPBACK, envoy, applications)
    async with agent(Pages({"/stats/prometheus": merged.page})) as where:
        return await get(where, f"/stats/prometheus{query}", accept=accept)


async def test_metrics_of_agent_envoy_and_application_are_one_page() -> None:
    async with app(**{"stats/prometheus": (200, "envoy_a 1")}) as envoy, app(metrics=(200, "app_a 1\n")) as application:
        reply = await scraped(envoy.port, Target(application.port), query="?usedonly")
        text = reply.body.decode()
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert text.index("istio_agent_scrapes_total") < text.index("envoy_a 1\n") < text.index("app_a 1\n")
        assert envoy.asked[0].query_string == "usedonly"


async def test_more_scrapes_than_a_few_at_a_time_are_refused() -> None:
    """Each holds what Envoy and the application answer, up to eleven megabytes. No address takes all places."""
    asked, go = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        asked.release()
        await go.wait()
        return web.Response(text="app_a 1\n")

    application = web.Application()
    application.router.add_get("/metrics", slow)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    try:
        merged = MergedMetrics(LOOPBACK, None, [Target(runner.addresses[0][1])])
        async with agent(Pages({"/stats/prometheus": merged.page})) as where:
            one, other, third = [
                Question(where, "/stats/prometheus", timeout=None, source=f"127.0.0.{host}") for host in (2, 3, 4)
            ]
            waiting = []
            for page in (one, other):
                waiting += [asyncio.create_task(ask(page)) for _ in range(MOST_AT_ONCE // 2)]
                for _ in range(MOST_AT_ONCE // 2):
                    await asked.acquire()
                assert (await ask(page)).status == 503
            assert (await ask(third)).status == 503
            go.set()
            assert [reply.status for reply in await asyncio.gather(*waiting)] == [200] * MOST_AT_ONCE
            assert (await ask(one)).status == 200
    finally:
        await runner.cleanup()


async def test_a_part_that_is_not_there_is_left_out_and_counted() -> None:
    async with app(metrics=(500, "no")) as application, app(metrics=(200, "x" * (10 << 20) + "yy")) as large:
        before = (await scraped(None)).body.decode()
        reply = await scraped(1, Target(application.port), Target(large.port))
        after = (await scraped(None)).body.decode()

    def failures(text: str, part: str) -> int:
        return int(text.split(f'istio_agent_scrape_failures_total{{type="{part}"}} ')[1].split("\n", maxsplit=1)[0])

    assert (reply.status, len(reply.body) < 10 << 10) == (200, True)
    assert failures(after, "envoy") == failures(before, "envoy") + 1
    assert failures(after, "application") == failures(before, "application") + 2


async def test_open_metrics_end_once() -> None:
    kind = {"content-type": OPEN_METRICS}
    async with app(a=(200, "a 1\n# EOF\n", kind), b=(200, "b 1\n# EOF", kind), c=(200, "c 1\n")) as application:
        ports = [Target(application.port, path) for path in ("/a", "/b", "/c")]
        same = await scraped(None, *ports[:2])
        assert same.headers["content-type"] == OPEN_METRICS
        assert same.body.decode().endswith("a 1\nb 1\n# EOF\n")
        mixed = await scraped(None, *ports)
        assert mixed.headers["content-type"].startswith("text/plain")
        assert b"# EOF" not in mixed.body


async def test_a_long_page_is_compressed_where_that_is_understood() -> None:
    async with app(metrics=(200, "a 1\n" * 1000)) as application:
        merged = MergedMetrics(LOOPBACK, None, [Target(application.port)])
        async with agent(Pages({"/metrics": merged.page})) as where:
            plain = await get(where, "/metrics")
            small = await get(where, "/metrics", **{"accept-encoding": "zstd, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert len(small.body) < len(plain.body) / 2


async def test_idle_connections_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has waited longest makes room: the kubelet is answered while somebody else holds all places."""
    monkeypatch.setattr("controlplane.agent.http.server._MOST_CONNECTIONS", 3)
    async with agent(Pages({"/a": page_of(b"a")})) as where:
        idle = [await asyncio.open_connection(where.host, where.port) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert (await get(where, "/a")).body == b"a"
        async with patience():
            assert await idle[0][0].read() == b""
        assert not idle[2][0].at_eof()
        for _, writer in idle:
            writer.close()


async def test_a_page_that_nobody_reads_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.agent.http.server._IDLE_SECONDS", 0.3)
    monkeypatch.setattr("controlplane.agent.http.server._MOST_CONNECTIONS", 1)
    async with agent(Pages({"/long": page_of(b"a" * (32 << 20)), "/a": page_of(b"a")})) as where:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(where)
        reader, writer = await asyncio.open_connection(sock=slow, limit=1)
        writer.write(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")

        async def has_room() -> bool:
            try:
                return bool((await get(where, "/a")).body == b"a")
            except (NoAnswerError, OSError):
                return False

        await until(has_room)
        size = 0
        while piece := await reader.read(1 << 16):
            size += len(piece)
        assert size < 32 << 20
        writer.close()


async def slow_reader(
    where: TcpAddress, path: str, source: str, headers: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a page and take next to nothing of it."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.setblocking(False)
    slow.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(slow, where)
    reader, writer = await asyncio.open_connection(sock=slow, limit=1)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
    return reader, writer


async def taken(reader: asyncio.StreamReader) -> int:
    """Return how many bytes come until the connection ends."""
    size = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := await reader.read(1 << 16):
            size += len(piece)
    return size


async def test_an_address_with_most_connections_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each of them is being answered, so that none waits for a request; it gets no further one itself."""
    monkeypatch.setattr("controlplane.agent.http.server._MOST_CONNECTIONS", 3)
    asked, go = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_request: Request) -> Response:
        asked.release()
        await go.wait()
        return Response()

    async with agent(Pages({"/slow": slow, "/a": page_of(b"a")})) as where:
        waiting = []
        for _ in range(3):
            waiting.append(asyncio.create_task(ask(Question(where, "/slow", timeout=None, source="127.0.0.2"))))
            await asked.acquire()
        with pytest.raises(NoAnswerError):
            await ask(Question(where, "/a", source="127.0.0.2"))
        assert (await ask(Question(where, "/a", source="127.0.0.3"))).body == b"a"
        go.set()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(each, NoAnswerError) for each in ends] == [True, False, False]


async def test_of_addresses_with_as_many_connections_one_that_asks_nothing_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many addresses with an idle connection each take no place of a probe, nor of the next one beside it."""
    monkeypatch.setattr("controlplane.agent.http.server._MOST_CONNECTIONS", 3)
    asked, go = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_request: Request) -> Response:
        asked.release()
        await go.wait()
        return Response()

    async with agent(Pages({"/slow": slow, "/a": page_of(b"a")})) as where:
        probe = asyncio.create_task(ask(Question(where, "/slow", timeout=None, source="127.0.0.2")))
        await asked.acquire()
        idle = [await asyncio.open_connection(*where, local_addr=(f"127.0.1.{host}", 0)) for host in (1, 2)]
        for host in (2, 3, 4):
            assert (await ask(Question(where, "/a", source=f"127.0.0.{host}"))).body == b"a"
            idle.append(await asyncio.open_connection(*where, local_addr=(f"127.0.2.{host}", 0)))
        go.set()
        assert (await probe).status == 200
        for _, writer in idle:
            writer.close()


async def test_answers_that_nobody_reads_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that has most of them gives way, and not one that reads slowly beside it."""
    size = 16 << 20
    monkeypatch.setattr("controlplane.agent.http.server._MOST_UNREAD", 3 * size + (1 << 20))
    asked = asyncio.Semaphore(0)

    async def long(_request: Request) -> Response:
        asked.release()
        return Response(body=b"a" * size)

    async with agent(Pages({"/long": long})) as where:
        readers = []
        for source in ("127.0.0.3", "127.0.0.2", "127.0.0.2", "127.0.0.2"):
            readers.append(await slow_reader(where, "/long", source))
            async with patience():
                await asked.acquire()
        assert await taken(readers[1][0]) < size
        for reader, writer in (readers[0], *readers[2:]):
            writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            writer.write_eof()
            assert await taken(reader) > size
        for _, writer in readers:
            writer.close()


async def test_a_connection_that_is_to_end_ends_although_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all that is left of the answer fits into what a transport writes without waiting."""
    monkeypatch.setattr("controlplane.agent.http.server._IDLE_SECONDS", 0.3)
    body, asked = b"a" * (48 << 10), asyncio.Event()

    async def long(_request: Request) -> Response:
        asked.set()
        return Response(body=body)

    server = HttpServer(Pages({"/long": long}).answer)
    where = await server.start(TcpAddress(LOOPBACK, 0))
    listening = server._server  # noqa: SLF001 - what it accepts has the small buffer of this, too
    assert listening is not None
    listening.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    try:
        before = open_files()
        reader, writer = await slow_reader(where, "/long", "127.0.0.2", "Connection: close\r\n")
        async with patience():
            await asked.wait()

        async def ended() -> bool:
            return open_files() == before + 1  # ours

        await until(ended)
        assert await taken(reader) < len(body)
        writer.close()
    finally:
        await server.stop()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def page_of(body: bytes) -> Answer:
    async def page(_request: Request) -> Response:
        return Response(body=body)

    return page


@pytest.mark.parametrize("kind", ["text/plain; name=größe", "text/plain; name=gr\ufffd\ufffde", "text/plain; n=\udce4"])
async def test_a_content_type_of_any_bytes_is_handed_on(kind: str) -> None:
    async def page(_request: Request) -> Response:
        return Response(body=b"well", content_type=kind)

    server = HttpServer(page)
    try:
        answer = await get(await server.start(TcpAddress(LOOPBACK, 0)), "/")
    finally:
        await server.stop()
    assert (answer.status, answer.body) == (200, b"well")
    assert answer.headers["content-type"].startswith("text/plain; n")


PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "envoy", "application"),
    [
        ("", "text/plain;version=0.0.4", "text/plain;version=0.0.4"),
        ("image/png", "text/plain;version=0.0.4", "text/plain;version=0.0.4"),
        (
            PROMETHEUS,
            "text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.1",
        ),
        ("application/*", "text/plain;version=0.0.4", "application/openmetrics-text;version=0.0.1;q=0.1"),
    ],
)
def test_who_is_asked_for_what(accept: str, envoy: str, application: str) -> None:
    assert envoy_accept(accept) == envoy
    assert application_accept(accept) == application


def test_the_form_that_an_application_answered_in() -> None:
    assert content_type(OPEN_METRICS) == OPEN_METRICS
    assert content_type("application/openmetrics-text") == "application/openmetrics-text; version=0.0.1; charset=utf-8"
    assert content_type("text/html").startswith("text/plain")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"scrape": "true", "path": "/m", "port": "9000"}, (Target(9000, "/m"),)),
        ({"scrape": "true"}, (Target(80, "/metrics"),)),
        ({"scrape": "false", "port": "9000"}, ()),
        (
            {"port": "1", "targets": [{"port": "9001"}, {"port": "9002", "path": "x"}]},
            (Target(9001), Target(9002, "/x")),
        ),
    ],
)
def test_what_injection_says_of_the_application(said: dict[str, Any], expected: tuple[Target, ...]) -> None:
    environment = Environment({"ISTIO_PROMETHEUS_ANNOTATIONS": json.dumps(said)})
    assert targets(environment, "sidecar", 15020) == expected
    assert targets(environment, "router", 15020) == ()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"port": "15020"}', '{"port": "15090"}', '{"port": "x"}', '{"scrape": "x"}']
)
def test_what_injection_never_says(text: str) -> None:
    with pytest.raises(StartError, match="ISTIO_PROMETHEUS_ANNOTATIONS"):
        targets(Environment({"ISTIO_PROMETHEUS_ANNOTATIONS": text}), "sidecar", 15020)


@asynccontextmanager
async def prober(known: dict[str, Any], port: int = 15020) -> AsyncIterator[TcpAddress]:
    found = probes(Environment({"ISTIO_KUBE_APP_PROBERS": json.dumps(known)}))
    async with agent(Pages({}, Probes(found, LOOPBACK, port).find)) as where:
        yield where


async def test_http_probes_go_on_to_the_application() -> None:
    """With the kubelet's headers and host, from an address that is not led to Envoy; leading elsewhere is success."""
    async with app(
        live=(200, "fine"), bad=(503, "x" * 20000), away=(302, "", {"location": "http://other.test/"})
    ) as one:
        one.answers["/moved"] = (301, "", {"location": "/live"})
        known = {
            f"/app-health/web/{name}": {"httpGet": {"port": one.port, "path": path}, "timeoutSeconds": 5}
            for name, path in (("livez", "/live"), ("readyz", "/bad"), ("startupz", "away"))
        }
        known["/app-lifecycle/web/prestopz"] = {"httpGet": {"port": one.port, "path": "/moved"}}
        async with prober(known) as where:
            reply = await get(where, "/app-health/web/livez", host="10.0.0.7:15020", **{"X-Probe": "1"})
            assert (reply.status, reply.body) == (200, b"fine")
            assert one.asked[0].headers["x-probe"] == "1"
            assert one.asked[0].host == f"10.0.0.7:{one.port}"
            assert one.asked[0].remote == "127.0.0.6"
            refused = await get(where, "/app-health/web/readyz")
            assert (refused.status, len(refused.body)) == (503, 10 << 10)
            assert (await get(where, "/app-health/web/startupz")).status == 200
            assert (await get(where, "/app-lifecycle/web/prestopz")).body == b"fine"
            unknown = await get(where, "/app-health/other/livez")
            assert (unknown.status, b"/app-health/other/livez" in unknown.body) == (400, True)
            assert (await get(where, "/elsewhere")).status == 404


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_connection_is_kept_for_the_next_probe_where_that_is_asked_for(keeps: bool) -> None:  # noqa: FBT001
    """Also after a failure of the application; one that the application has ended is replaced."""
    async with app(live=(200, "fine"), bad=(503, "bad"), end=(200, "", {"connection": "close"})) as one:
        known = {
            f"/app-health/{name}/livez": {"httpGet": {"port": one.port, "path": f"/{name}"}, "timeoutSeconds": 30}
            for name in ("live", "bad", "end")
        }
        found = probes(Environment({"ISTIO_KUBE_APP_PROBERS": json.dumps(known)}))
        prober = Probes(found, LOOPBACK, 15020, from_loopback=False, keeps=keeps)
        live, bad, end = known
        async with agent(Pages({}, prober.find)) as where:
            for path, status in ((live, 200), (bad, 503), (live, 200), (end, 200), (live, 200)):
                assert (await get(where, path)).status == status
            if keeps:
                one.end_connections()
            assert (await get(where, live)).status == 200
        prober.close()
        connections = [id(each) for each in one.connections]
        assert len(connections) == 6
        first = connections[0]
        assert (connections[:4] == [first] * 4) is keeps
        assert len(set(connections)) == (3 if keeps else 6)


@pytest.mark.parametrize("late", [False, True])
async def test_what_nobody_asked_for_is_not_the_answer_of_the_next_probe(late: bool) -> None:  # noqa: FBT001
    """Neither where it comes with the answer nor where it comes behind it, as the late answer of one given up does."""
    more = b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n"
    writers: list[asyncio.StreamWriter] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + (b"" if late else more))
        writer.close()

    server = await asyncio.start_server(answers, LOOPBACK, 0)
    kept, where = Kept(), TcpAddress(LOOPBACK, server.sockets[0].getsockname()[1])
    try:
        assert (await ask(Question(where, "/"), kept)).status == 200
        if late:
            writers[0].write(more)
            assert (await ask(Question(where, "/"))).status == 200  # by then it has come
        assert (await ask(Question(where, "/"), kept)).status == 200
        assert len(writers) == 2 + late
    finally:
        kept.close()
        await let_go(server, writers)


async def test_a_probe_whose_answer_was_given_up_leaves_no_connection_to_the_next() -> None:
    connections = []

    async def silent_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                if len(connections) > 1:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(silent_at_first, LOOPBACK, 0)
    kept, where = Kept(), TcpAddress(LOOPBACK, server.sockets[0].getsockname()[1])
    try:
        with pytest.raises(NoAnswerError, match="did not answer within"):
            await ask(Question(where, "/", timeout=timedelta(milliseconds=100)), kept)
        assert (await ask(Question(where, "/"), kept)).status == 200
        assert len(connections) == 2
    finally:
        kept.close()
        await let_go(server, connections)


async def let_go(server: asyncio.Server, connections: list[asyncio.StreamWriter]) -> None:
    server.close()
    for each in connections:
        each.transport.abort()
        with contextlib.suppress(OSError):
            await each.wait_closed()


async def test_a_probe_that_is_not_answered_fails() -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    ended = asyncio.Event()
    server = await asyncio.start_server(silent, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    known = {
        "/app-health/a/livez": {"httpGet": {"port": port}, "timeoutSeconds": 1},
        "/app-health/b/livez": {"tcpSocket": {"port": port}},
        "/app-health/c/livez": {"tcpSocket": {"port": 1}},
        "/app-health/d/livez": {"grpc": {"port": 1}, "timeoutSeconds": 5},
    }
    try:
        async with prober(known) as where:
            statuses = [(await get(where, path)).status for path in known]
    finally:
        ended.set()
        server.close()
    assert statuses == [500, 200, 500, 500]


@pytest.mark.parametrize(("state", "status"), [(1, 200), (2, 500), (0, 500)])
async def test_grpc_probes_ask_for_the_service(state: int, status: int) -> None:
    asked: list[bytes] = []

    async def check(request: bytes, _context: object) -> bytes:
        asked.append(request)
        return bytes([8, state]) if state else b""

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    try:
        known = {"/app-health/web/readyz": {"grpc": {"port": port, "service": "shop"}, "timeoutSeconds": 5}}
        async with prober(known) as where:
            assert (await get(where, "/app-health/web/readyz")).status == status
    finally:
        await server.stop(None)
    assert asked == [b"\n\x04shop"]


@pytest.mark.parametrize(
    "known",
    [
        {"/elsewhere/web/livez": {"httpGet": {"port": 1}}},
        {"/app-health/web/other": {"httpGet": {"port": 1}}},
        {"/app-health/web/livez": {}},
        {"/app-health/web/livez": {"httpGet": {"port": 1}, "tcpSocket": {"port": 1}}},
        {"/app-health/web/livez": {"httpGet": {"port": "http"}}},
        {"/app-health/web/livez": {"httpGet": {"port": 1}, "timeoutSeconds": "1"}},
    ],
)
def test_probes_that_injection_never_writes(known: dict[str, Any]) -> None:
    with pytest.raises(StartError, match="ISTIO_KUBE_APP_PROBERS: /"):
        probes(Environment({"ISTIO_KUBE_APP_PROBERS": json.dumps(known)}))


class Health:
    """A workload's health with what it tells."""

    def __init__(self, probe: dict[str, Any], proxy_problem: str = "") -> None:
        found = HealthProbe.of(ProxyConfig({"readinessProbe": probe}))
        assert found is not None
        self.told: list[str | None] = []
        self.proxy_problem = proxy_problem

        async def problem() -> str:
            return self.proxy_problem

        async def tell(text: str | None) -> None:
            self.told.append(text)

        self.checks = WorkloadHealth(found, LOOPBACK, None, problem, tell)


async def test_a_change_of_health_is_told_once_it_has_lasted() -> None:
    async with app(ok=(200, "")) as one:
        health = Health({"httpGet": {"path": "/ok", "port": one.port}, "failureThreshold": 2})
        await health.checks.once()
        await health.checks.once()
        assert health.told == [None]
        assert one.asked[0].headers["user-agent"] == "istio-probe/1.0"
        one.answers["/ok"] = (500, "", {})
        await health.checks.once()
        assert health.told == [None]
        await health.checks.once()
        await health.checks.once()
        assert health.told == [None, f"127.0.0.1:{one.port}/ok answered 500"]
        one.answers["/ok"] = (204, "", {})
        await health.checks.once()
        assert health.told[2:] == [None]
        health.proxy_problem = "Envoy is not there"
        await health.checks.once()
        await health.checks.once()
        assert health.told[3:] == ["Envoy is not there"]


@pytest.mark.parametrize(
    ("code", "told"), [("0", None), ("3", f"{sys.executable} ended with 3")], ids=["healthy", "unhealthy"]
)
async def test_a_command_can_be_the_probe(code: str, told: str | None) -> None:
    health = Health({"exec": {"command": [sys.executable, "-c", f"raise SystemExit({code})"]}, "timeoutSeconds": 20})
    await health.checks.once()
    assert health.told == [told]


@pytest.mark.parametrize(
    "probe",
    [
        {"periodSeconds": 1},
        {"exec": {"command": []}},
        {"httpGet": {"port": 0}},
        {"tcpSocket": {"port": 1}, "periodSeconds": -1},
    ],
)
def test_probes_of_health_that_cannot_be_used(probe: dict[str, Any]) -> None:
    with pytest.raises(StartError, match="readinessProbe"):
        HealthProbe.of(ProxyConfig({"readinessProbe": probe}))


async def test_no_answer_says_why() -> None:
    with pytest.raises(NoAnswerError, match=r"127\.0\.0\.1:1: "):
        await ask(Question(TcpAddress(LOOPBACK, 1), "/"))

    def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, LOOPBACK, 0)
    try:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NoAnswerError, match=f"127.0.0.1:{port}: "):
            await ask(Question(TcpAddress(LOOPBACK, port), "/", timeout=timedelta(seconds=10)))
    finally:
        server.close()
