"""Questions for names over UDP and TCP, with a real name server behind: what is answered here, and what is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import dns.asyncquery
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.dns import answers
from controlplane.agent.dns.forward import Forwarder, Resolver
from controlplane.agent.dns.server import NameServer, Place
from controlplane.agent.dns.settings import listening, name_server
from controlplane.agent.dns.table import names
from controlplane.agent.environment import StartError
from controlplane.agent.options import options
from controlplane.messages.name_table_pb2 import NameTable
from samples.control_plane import free_port
from tests.patience import PATIENCE_SECONDS, patience

SEARCH = "shop.svc.cluster.local"
PLACE = Place("shop", SEARCH, SEARCH)
KUBERNETES = {
    "web.shop.svc.cluster.local": ("web", "shop", ["10.1.0.1"]),
    "db.data.svc.cluster.local": ("db", "data", ["10.1.0.2", "fd00::2"]),
}
EXTERNAL = {
    "Api.example.com": ["10.2.0.1"],
    "*.wild.com": ["10.2.0.2"],
    "*.b.wild.com": ["10.2.0.3"],
    "many.example.com": [f"10.3.{n // 256}.{n % 256}" for n in range(700)],
    "nowhere.example.com": ["no address"],
}


def table(external: Mapping[str, list[str]] = EXTERNAL) -> bytes:
    message = NameTable()
    for host, (short, namespace, ips) in KUBERNETES.items():
        info = message.table[host]
        info.registry, info.shortname, info.namespace = "Kubernetes", short, namespace
        info.ips.extend(ips)
    for host, ips in external.items():
        message.table[host].registry = "External"
        message.table[host].ips.extend(ips)
    return bytes(message.SerializeToString())


class Upstream(asyncio.DatagramProtocol):
    """A name server that knows one name, and says NXDOMAIN of others."""

    def __init__(self) -> None:
        self.questions: list[str] = []
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(self.answer(data), addr)

    def answer(self, wire: bytes) -> bytes:
        question = dns.message.from_wire(wire)
        name = question.question[0].name
        self.questions.append(name.to_text())
        answer = dns.message.make_response(question)
        if name.to_text() == "outside.test.":
            answer.answer.append(dns.rrset.from_text(name, 5, "IN", "A", "192.0.2.9"))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(length))
        writer.write(len(answer).to_bytes(2) + answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    server, port = Upstream(), free_port()
    server.port = port
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", port)
    )
    tcp = await asyncio.start_server(server.connected, "127.0.0.1", port)
    try:
        yield server
    finally:
        transport.close()
        tcp.close()


class Client:
    """Asks the name server under test."""

    def __init__(self, server: NameServer, port: int, behind: Upstream) -> None:
        self.server, self.port, self.behind = server, port, behind

    async def ask(
        self, name: str, kind: str = "A", *, tcp: bool = False, payload: int | None = None
    ) -> dns.message.Message:
        question = dns.message.make_query(name, kind, payload=payload, use_edns=0 if payload else None)
        query = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await query(question, "127.0.0.1", port=self.port, timeout=PATIENCE_SECONDS)

    async def addresses(self, name: str, kind: str = "A", *, tcp: bool = False) -> set[str]:
        answer = await self.ask(name, kind, tcp=tcp)
        assert answer.rcode() == dns.rcode.NOERROR
        return {record.to_text() for rrset in answer.answer for record in rrset if rrset.rdtype != dns.rdatatype.CNAME}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with upstream() as behind:
        dead = TcpAddress("127.0.0.1", free_port())
        forwarder = Forwarder([dead, TcpAddress("127.0.0.1", behind.port)], timedelta(seconds=5), at_once=False)
        server = NameServer(forwarder, PLACE)
        port = free_port()
        await server.start([TcpAddress("127.0.0.1", port)])
        server.take(table())
        try:
            yield Client(server, port, behind)
        finally:
            await server.stop()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        pytest.param("web.shop.svc.cluster.local.", "A", {"10.1.0.1"}, id="whole"),
        pytest.param("web.", "A", {"10.1.0.1"}, id="short-of-own-namespace"),
        pytest.param("web.shop.svc.", "A", {"10.1.0.1"}, id="svc"),
        pytest.param("db.data.", "A", {"10.1.0.2"}, id="other-namespace"),
        pytest.param("db.data.", "AAAA", {"fd00::2"}, id="v6"),
        pytest.param("WEB.Shop.", "A", {"10.1.0.1"}, id="letters"),
        pytest.param("api.example.com.", "A", {"10.2.0.1"}, id="external"),
        pytest.param("api.example.com.shop.svc.cluster.local.", "A", {"10.2.0.1"}, id="searched"),
        pytest.param("a.wild.com.", "A", {"10.2.0.2"}, id="wildcard"),
        pytest.param("x.a.b.wild.com.", "A", {"10.2.0.3"}, id="longest-wildcard"),
        pytest.param("web.", "AAAA", set(), id="no-address-of-that-family"),
    ],
)
async def test_names_of_the_mesh(client: Client, name: str, kind: str, expected: set[str], tcp: bool) -> None:  # noqa: FBT001
    assert await client.addresses(name, kind, tcp=tcp) == expected
    assert client.behind.questions == []


async def test_the_form_of_an_answer(client: Client) -> None:
    """Authoritative, 30 seconds, the alias first; the answer to a searched wildcard belongs to the wildcard."""
    answer = await client.ask("api.example.com.shop.svc.cluster.local.")
    assert answer.flags & dns.flags.AA
    assert not answer.flags & dns.flags.RA
    alias, address = answer.answer
    assert (alias.rdtype, alias[0].to_text(), alias.ttl) == (dns.rdatatype.CNAME, "api.example.com.", 30)
    assert (address.name.to_text(), address.ttl) == ("api.example.com.", 30)
    wild = await client.ask("x.wild.com.shop.svc.cluster.local.")
    assert [rrset.name.to_text() for rrset in wild.answer] == ["x.wild.com.shop.svc.cluster.local.", "*.wild.com."]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_all_others_are_passed_on(client: Client, tcp: bool) -> None:  # noqa: FBT001
    """Over the same transport; a server that is dead is followed by the next; whatever is said there is the answer."""
    assert await client.addresses("outside.test.", tcp=tcp) == {"192.0.2.9"}
    assert (await client.ask("unknown.test.", tcp=tcp)).rcode() == dns.rcode.NXDOMAIN
    assert (await client.ask("web.", "MX", tcp=tcp)).rcode() == dns.rcode.NXDOMAIN
    assert (await client.ask("db.", tcp=tcp)).rcode() == dns.rcode.NXDOMAIN, "short names are of its own namespace"
    assert (await client.ask("nowhere.example.com.", tcp=tcp)).rcode() == dns.rcode.NXDOMAIN, "without an address"
    assert client.behind.questions == ["outside.test.", "unknown.test.", "web.", "db.", "nowhere.example.com."]


@pytest.mark.parametrize(("payload", "most"), [(None, 512), (1232, 1232), (100, 512)])
async def test_what_does_not_fit_is_cut(client: Client, payload: int | None, most: int) -> None:
    answer = await client.ask("many.example.com.", payload=payload)
    assert answer.flags & dns.flags.TC
    assert len(answer.to_wire()) <= most
    assert len(answer.answer[0]) > (most - 100) // 16 - 2, "as many as fit"
    whole = await client.ask("many.example.com.", tcp=True)
    assert (len(whole.answer[0]), whole.flags & dns.flags.TC) == (700, 0)


@pytest.mark.parametrize("address", ["10.3.{}.{}", "fd00::{:x}:{:x}"])
@pytest.mark.parametrize("asked", ["Many.example.com.", "many.example.com.shop.svc.cluster.local."])
def test_as_many_records_are_made_as_fit(monkeypatch: pytest.MonkeyPatch, asked: str, address: str) -> None:
    """A name of thousands of addresses would hold up everything else that the agent answers."""
    made = []

    def counted(text: str) -> bytes:
        made.append(text)
        return ip_address(text).packed

    monkeypatch.setattr(answers, "packed", counted)
    kind = "AAAA" if ":" in address else "A"
    texts = {str(ip_address(address.format(n // 256, n % 256))) for n in range(5000)}
    found = names(table({"many.example.com": sorted(texts)}), "shop", "svc.cluster.local", "shop.svc.cluster.local")
    for size in (512, 1232, 65535):
        made.clear()
        answer = answers.local_answer(dns.message.make_query(asked, kind, use_edns=size == 1232), found, size)
        assert answer is not None
        message = dns.message.from_wire(answer)
        got = {record.to_text() for record in message.answer[-1]}
        room = size - len(answer)
        assert 0 <= room < len(answers.packed(next(iter(got)))) + 12
        assert message.flags & dns.flags.TC
        assert message.edns == (0 if size == 1232 else -1)
        assert got <= texts
        assert len(got) == len(made) - 1


def test_an_answer_that_has_no_room_for_an_address_says_so() -> None:
    asked = ".".join(["x" * 60] * 3) + ".wild.com."
    found = names(table(), "shop", "svc.cluster.local", "wild.com")
    answer = answers.local_answer(dns.message.make_query(asked, "A"), found, 220)
    assert answer is not None
    message = dns.message.from_wire(answer)
    assert (message.answer, bool(message.flags & dns.flags.TC)) == ([], True)


async def test_nobody_is_answered_before_there_is_a_table() -> None:
    async with upstream() as behind:
        forwarder = Forwarder([TcpAddress("127.0.0.1", behind.port)], timedelta(seconds=5), at_once=True)
        server, port = NameServer(forwarder, PLACE), free_port()
        await server.start([TcpAddress("127.0.0.1", port)])
        try:
            client = Client(server, port, behind)
            assert not server.ready
            assert (await client.ask("outside.test.")).rcode() == dns.rcode.SERVFAIL
            assert behind.questions == []
            server.take(table())
            assert await client.addresses("outside.test.") == {"192.0.2.9"}
        finally:
            await server.stop()


async def test_the_only_name_server_of_a_host_passes_on_before_there_is_a_table() -> None:
    """A machine has to find its control plane before it can have a table."""
    async with upstream() as behind:
        forwarder = Forwarder([TcpAddress("127.0.0.1", behind.port)], timedelta(seconds=5), at_once=True)
        server, port = NameServer(forwarder, PLACE, early=True), free_port()
        await server.start([TcpAddress("127.0.0.1", port)])
        try:
            client = Client(server, port, behind)
            assert await client.addresses("outside.test.") == {"192.0.2.9"}
            assert not server.ready
            server.take(table())
            assert await client.addresses("web.") == {"10.1.0.1"}
        finally:
            await server.stop()


@pytest.mark.parametrize(
    ("address", "user", "kept", "search"),
    [
        ("127.0.0.1:53", 0, True, "kept.test"),
        ("127.0.0.1:53", 0, False, "host.test"),
        ("127.0.0.1:53", 1337, True, "host.test"),
        ("localhost:15053", 0, True, "host.test"),
    ],
)
def test_on_port_53_the_resolver_that_was_kept_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    user: int,
    kept: bool,  # noqa: FBT001
    search: str,
) -> None:
    """The host's own names the agent itself, which would ask itself without end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: user)
    Path("host").write_text("nameserver 127.0.0.1\nsearch host.test\n", encoding="utf-8")
    if kept:
        Path("kept").write_text("nameserver 192.0.2.53\nsearch kept.test\n", encoding="utf-8")
    said = options(["sidecar"], {"POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.7", "DNS_PROXY_ADDR": address})
    server, (where,) = name_server(said, Path("host"), Path("kept"))
    assert server.place == Place("shop", "shop.svc.cluster.local", search)
    assert server.early is (address == "127.0.0.1:53" and user == 0)
    assert where.port == (53 if server.early else 15053)


async def test_names_of_the_mesh_are_found_however_many_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.agent.dns.server._MOST_WAITING", 2)
    monkeypatch.setattr("controlplane.agent.dns.server._MOST_CONNECTIONS", 2)
    silent = socket.socket(type=socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    where = TcpAddress(*silent.getsockname())
    server, port = NameServer(Forwarder([where], timedelta(hours=1), at_once=False), PLACE), free_port()
    await server.start([TcpAddress("127.0.0.1", port)])
    server.take(table())
    try:
        async with upstream() as behind:
            client = Client(server, port, behind)
            with socket.socket(type=socket.SOCK_DGRAM) as asks:
                for _ in range(9):
                    asks.sendto(dns.message.make_query("outside.test.", "A").to_wire(), ("127.0.0.1", port))
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            assert await client.addresses("web.") == {"10.1.0.1"}
            assert await client.addresses("web.", tcp=True) == {"10.1.0.1"}
            async with patience():
                assert await idle[0][0].read() == b"", "who has not asked for the longest time makes room"
            for _, writer in idle:
                writer.close()
    finally:
        silent.close()
        await server.stop()


async def test_who_asks_over_tcp_and_takes_no_answer_is_let_go(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.agent.dns.server._IDLE_SECONDS", 0.3)
    question = dns.message.make_query("web.", "A").to_wire()
    for listening_socket in client.server._servers[0].sockets:  # noqa: SLF001 - what is accepted has its small buffer
        listening_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", client.port))
    _, writer = await asyncio.open_connection(sock=slow, limit=1)

    async def asks_without_end() -> None:
        while True:
            writer.write((len(question).to_bytes(2) + question) * 1000)
            await writer.drain()

    async with patience():
        with pytest.raises(ConnectionError):
            await asks_without_end()
    writer.close()


async def test_nobody_behind_is_a_failure_and_garbage_is_nothing(client: Client) -> None:
    forwarder = Forwarder([TcpAddress("127.0.0.1", free_port())], timedelta(seconds=5), at_once=False)
    server, port = NameServer(forwarder, PLACE), free_port()
    await server.start([TcpAddress("127.0.0.1", port)])
    server.take(table())
    try:
        lonely = Client(server, port, client.behind)
        with socket.socket(type=socket.SOCK_DGRAM) as raw:
            for garbage in (b"", b"\0" * 5, b"\xff" * 40, b"\0\1\x80\0" + b"\0" * 8):
                raw.sendto(garbage, ("127.0.0.1", port))
        assert (await lonely.ask("outside.test.")).rcode() == dns.rcode.SERVFAIL
        assert (await lonely.ask("outside.test.", tcp=True)).rcode() == dns.rcode.SERVFAIL
        with pytest.raises(Exception, match="Error parsing message"):
            server.take(b"\xff\xff")
        assert await lonely.addresses("web.") == {"10.1.0.1"}, "the former table stays"
    finally:
        await server.stop()


def test_the_resolver_says_whom_to_ask(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# comment\nnameserver 10.96.0.10\nsearch Shop.svc.cluster.local svc.cluster.local\nnameserver x\n")
    resolver = Resolver.read(path)
    assert (resolver.servers, resolver.search) == (("10.96.0.10",), SEARCH)
    assert listening("localhost:15053", resolver) == (TcpAddress("127.0.0.1", 15053),)
    assert listening("10.0.0.7:5353", resolver) == (TcpAddress("10.0.0.7", 5353),)
    both = Resolver(("10.96.0.10", "fd00::a"), "")
    assert [where.host for where in listening("localhost:15053", both)] == ["127.0.0.1", "::1"]
    with pytest.raises(StartError, match="DNS_PROXY_ADDR: 'x'"):
        listening("x", resolver)
    with pytest.raises(StartError, match="nowhere cannot be read"):
        Resolver.read(tmp_path / "nowhere")
