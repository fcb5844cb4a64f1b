"""A port of a pod at a local address: each connection goes through the API server to the pod's own loopback.

The way is a WebSocket with the subprotocol ``v4.channel.k8s.io``: each message begins with a byte for the channel, 0
for what is sent and received, 1 for why the pod's port cannot be reached. The first message of each channel is the
port. Reference: Kubernetes, ``k8s.io/kubelet/pkg/cri/streaming/portforward``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp

from controlplane.watchers.kubernetes.api import Api

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_CHANNELS = 2
_PIECE = 1 << 16
_BROKEN = (aiohttp.ClientError, ConnectionError, OSError)


class PortForward:
    """One port of one pod. ``problem`` says why the last connection failed, empty where it did not."""

    def __init__(self, api: Api, namespace: str, pod: str, port: int) -> None:
        """Prepare the way; nothing is opened yet."""
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.problem = ""

    async def open(self) -> str:
        """Listen at a free port of the loopback interface, and return the address as ``host:port``."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def close(self) -> None:
        """Listen no more, and end what is open."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        try:
            await self._joined(reader, writer)
        except _BROKEN as error:
            self.problem = str(error) or type(error).__name__
        finally:
            writer.close()
            with suppress(*_BROKEN):
                await writer.wait_closed()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with await self._socket() as socket:
            sending = asyncio.ensure_future(_sent(reader, socket))
            try:
                await self._received(socket, writer)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _socket(self) -> aiohttp.ClientWebSocketResponse:
        client = self._api.client
        _, url, headers, _, _ = await client.param_serialize(
            "GET", self._path, query_params=[("ports", str(self._port))], auth_settings=["BearerToken"]
        )
        session = client.rest_client.pool_manager
        if session is None:  # it is made with the first request
            session = client.rest_client.pool_manager = client.rest_client._create_pool_manager()  # noqa: SLF001
        opened: aiohttp.ClientWebSocketResponse = await session.ws_connect(url, headers=headers, protocols=[_PROTOCOL])
        return opened

    async def _received(self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
        begun: set[int] = set()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0] % _CHANNELS, message.data[1:]
            if channel not in begun:  # its first message names the port
                begun.add(channel)
            elif channel == _ERROR and data:
                self.problem = data.decode(errors="replace").strip()
                return
            elif channel == _DATA:
                writer.write(data)
                await writer.drain()


async def _sent(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    while data := await reader.read(_PIECE):
        await socket.send_bytes(bytes((_DATA,)) + data)
