"""The secure port as proxies see it: sockets, TLS, and a client that is grpc's own.

grpc's Python server cannot ask for an optional client certificate. So TLS ends in Python's ``ssl``, as in the program,
and the bytes behind it go to a grpc server on loopback, one connection for one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc
import grpc.aio

from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest, IstioCertificateResponse
from controlplane.security.certificate_service import CREATE_CERTIFICATE, CertificateService
from controlplane.security.refusal import CallRefused
from tests.patience import PATIENCE_SECONDS


@dataclass(frozen=True)
class Call:
    """What the transport knows of a call."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    peer: str = "192.0.2.1:1"
    peer_certificate: bytes | None = None


class SecurePort:
    """Serves the certificate service on a TLS port."""

    def __init__(self, service: CertificateService) -> None:
        self._service = service
        self._certificates: dict[str, bytes | None] = {}
        self._backend = grpc.aio.server()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._backend_port = 0
        self.port = 0

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext) -> AsyncIterator[SecurePort]:
        self._backend_port = self._backend.add_insecure_port("127.0.0.1:0")
        name, _, method = CREATE_CERTIFICATE.strip("/").partition("/")
        handler = grpc.unary_unary_rpc_method_handler(self._answer)
        self._backend.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {method: handler}),))
        await self._backend.start()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self._backend.stop(None)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                with suppress(AttributeError):  # of early 3.11, where it is closed already
                    writer.transport.abort()
            for writer in self._writers:
                with suppress(ConnectionError, ssl.SSLError):
                    await writer.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._backend_port)
        self._writers += (writer, to_writer)
        session = writer.get_extra_info("ssl_object")
        address = "ipv4:{}:{}".format(*to_writer.get_extra_info("sockname"))
        self._certificates[address] = session.getpeercert(binary_form=True)
        for source, sink in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(_copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        metadata = {name: str(value) for name, value in context.invocation_metadata() or ()}
        call = Call(metadata, context.peer(), self._certificates[context.peer()])
        try:
            return await self._service.create_certificate(request, call)
        except CallRefused as refused:
            await context.abort(grpc.StatusCode[refused.kind.value], str(refused))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while content := await source.read(65536):
            sink.write(content)
            await sink.drain()
    sink.close()


async def create_certificate(
    port: int,
    request: IstioCertificateRequest,
    roots: str,
    metadata: Mapping[str, str] | None = None,
    certificate: tuple[bytes, bytes] | None = None,
    server: str = "istiod.istio-system.svc",
) -> list[str]:
    """Ask for a certificate as an agent does; ``certificate`` is its key and chain.

    Raises:
        grpc.aio.AioRpcError: it is refused, or the server's certificate is not accepted.
    """
    credentials = grpc.ssl_channel_credentials(roots.encode(), *(certificate or (None, None)))
    options = [("grpc.ssl_target_name_override", server)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        method = channel.unary_unary(
            CREATE_CERTIFICATE, IstioCertificateRequest.SerializeToString, IstioCertificateResponse.FromString
        )
        response = await method(request, metadata=tuple((metadata or {}).items()), timeout=PATIENCE_SECONDS)
        return list(response.cert_chain)
