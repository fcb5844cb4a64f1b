"""Records of TLS that hold nothing: they come to an end, and everything else goes through unchanged."""

from __future__ import annotations

import asyncio
import hmac
import socket
import ssl
from collections.abc import Callable, Generator
from pathlib import Path
from typing import cast

import pytest
import uvloop
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from controlplane.security.tls_records import MOST_USELESS, CountedRecords
from tests.patience import PATIENCE_SECONDS
from tests.security.test_serving import NAMES, World

CONTENT, HANDSHAKE = 23, 22


class Peer:
    """A client of TLS in memory that makes records by itself, with the secret that its library logs.

    Reference: RFC 8446, 5 and 7.
    """

    def __init__(self, server: ssl.SSLContext, roots: str, log: Path, version: ssl.TLSVersion) -> None:
        context = ssl.create_default_context(cadata=roots)
        context.keylog_filename = str(log)
        context.minimum_version = context.maximum_version = version
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(self.to_server, self.to_client, server_side=True)
        self.client = context.wrap_bio(self.to_client, self.to_server, server_hostname=NAMES[0])
        for side in (self.client, self.server, self.client, self.server, self.client, self.server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        self._hash = "sha384" if "384" in self.cipher else "sha256"
        self._records = self._made(log)
        if version is ssl.TLSVersion.TLSv1_3:
            next(self._records)

    @property
    def cipher(self) -> str:
        cipher = self.server.cipher()
        assert cipher is not None
        return cipher[0]

    def content(self, text: bytes) -> bytes:
        """Return a record with content."""
        return self._record((text, CONTENT))

    def key_update(self) -> bytes:
        """Return a record that asks for new keys, and is the last with the old ones."""
        return self._record((b"\x18\0\0\1\1", HANDSHAKE))

    def hear(self, wire: bytes) -> bytes:
        """Have the server read what comes, and return its content."""
        self.to_server.write(wire)
        heard = bytearray()
        while True:
            try:
                piece = self.server.read(1 << 18)
            except ssl.SSLWantReadError:
                return bytes(heard)
            if not piece:
                return bytes(heard)
            heard += piece

    def _record(self, said: tuple[bytes, int]) -> bytes:
        return self._records.send(said)

    def _made(self, log: Path) -> Generator[bytes, tuple[bytes, int], None]:
        lines = log.read_text(encoding="utf-8").splitlines()
        secret = bytes.fromhex(next(line for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0")).split()[2])
        body, kind = yield b""
        while True:
            key = AESGCM(self._expand(secret, "key", 32 if "256" in self.cipher else 16))
            first = int.from_bytes(self._expand(secret, "iv", 12))
            number = 0
            while True:
                plain = body + bytes([kind])
                head = b"\x17\3\3" + (len(plain) + 16).to_bytes(2)
                record = head + key.encrypt((first ^ number).to_bytes(12), plain, head)
                number += 1
                was = kind
                body, kind = yield record
                if was == HANDSHAKE:
                    break
            secret = self._expand(secret, "traffic upd", len(secret))

    def _expand(self, secret: bytes, label: str, length: int) -> bytes:
        """Return HKDF-Expand-Label of at most one hash."""
        full = b"tls13 " + label.encode()
        said = length.to_bytes(2) + bytes([len(full)]) + full + b"\0\1"
        return hmac.new(secret, said, self._hash).digest()[:length]


Connect = Callable[[ssl.TLSVersion], Peer]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    world = World()
    return lambda version: Peer(world.tls.grpc_context(), world.authority.bundle, tmp_path / "keys", version)


@pytest.fixture
def peer(connect: Connect) -> Peer:
    return connect(ssl.TLSVersion.TLSv1_3)


def test_new_keys_without_end_end_the_connection(peer: Peer) -> None:
    assert peer.hear(peer.content(b"hello")) == b"hello"
    updates = b"".join(peer.key_update() for _ in range(10 * MOST_USELESS))
    with pytest.raises(ssl.SSLError, match="too many records without content"):
        peer.hear(updates)


def test_new_keys_with_a_word_after_each_end_the_connection_too(peer: Peer) -> None:
    said = b"".join(peer.key_update() + peer.content(b"x") for _ in range(10 * MOST_USELESS))
    with pytest.raises(ssl.SSLError, match="too many records without content"):
        peer.hear(said)


def test_new_keys_now_and_then_are_nothing_unusual(peer: Peer) -> None:
    for _ in range(4 * MOST_USELESS):
        words = [f"word {number}".encode() for number in range(20)]
        assert peer.hear(b"".join(map(peer.content, words)) + peer.key_update()) == b"".join(words)


@pytest.mark.parametrize("size", [1, 4, 5, 100, 16_405, 1 << 20])
def test_content_goes_through_whatever_pieces_it_comes_in(peer: Peer, size: int) -> None:
    content = bytes(range(256)) * 200
    wire = b"".join(peer.content(content[at : at + (1 << 14)]) for at in range(0, len(content), 1 << 14))
    heard = b"".join(peer.hear(wire[at : at + size]) for at in range(0, len(wire), size))
    assert heard == content


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_sides_speak_and_end(connect: Connect, version: ssl.TLSVersion) -> None:
    peer = connect(version)
    peer.client.write(b"question")
    assert peer.hear(b"") == b"question"
    peer.server.write(b"answer")
    assert peer.client.read() == b"answer"
    with pytest.raises(ssl.SSLWantReadError):
        peer.client.unwrap()
    assert peer.hear(b"") == b""
    peer.server.unwrap()
    peer.client.unwrap()


def test_an_end_without_a_word_is_an_end(peer: Peer) -> None:
    peer.to_server.write(peer.content(b"half")[:9])
    peer.to_server.write_eof()
    assert peer.server.read() == b""


def test_each_port_counts_records() -> None:
    tls = World().tls
    for context in (tls.grpc_context(), tls.https_context()):
        assert isinstance(context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True), CountedRecords)


@pytest.mark.parametrize("wire", [b"GET / HTTP/1.1\r\n\r\n", b"\x17\3\3\xff\xff", b"\x17\2\0\0\1x", b"\x00"])
def test_what_is_no_record_is_refused_at_once(peer: Peer, wire: bytes) -> None:
    with pytest.raises(ssl.SSLError) as refused:
        peer.hear(wire + bytes(8))
    assert not isinstance(refused.value, ssl.SSLWantReadError)


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is none by its class

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_each_loop_reads_all_records_that_came_at_once(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A loop may ask how much there is to read, and wait for the peer where that is nothing."""
    world = World()
    words = [bytes([number]) * (number + 1) for number in range(3 * MOST_USELESS)]

    async def heard() -> bytes:
        server = await asyncio.get_running_loop().create_server(
            Echo, "127.0.0.1", 0, ssl=world.tls.grpc_context(), family=socket.AF_INET
        )
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address[:2])
        from_server, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cadata=world.authority.bundle)
        client = context.wrap_bio(from_server, to_server, server_hostname=NAMES[0])
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(to_server.read())
                from_server.write(await reader.read(1 << 16))
        for word in words:
            client.write(word)
        writer.write(to_server.read())  # the end of the handshake, and all of the words
        echo = bytearray()
        while len(echo) < sum(map(len, words)):
            try:
                echo += client.read(1 << 16)
            except ssl.SSLWantReadError:
                came = await asyncio.wait_for(reader.read(1 << 16), PATIENCE_SECONDS)
                if not came:
                    break
                from_server.write(came)
        writer.close()
        server.close()
        return bytes(echo)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(heard()) == b"".join(words)
