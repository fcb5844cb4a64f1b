"""A TCP relay in front of a server, for what networks do: stall, and cut."""

from __future__ import annotations

import asyncio
from typing import Self


class Relay:
    """Forwards connections to a port of this machine while ``open`` is set; an asynchronous context manager.

    ``cut_after`` is how many more bytes clients are sent, until the connection that would have the next one is cut;
    ``None`` for no end. Then ``cuts`` counts one more.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.open = asyncio.Event()
        self.open.set()
        self.cut_after: int | None = None
        self.cuts = 0
        self._to = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """End all connections there are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, far_writer))
                    both.create_task(self._pump_down(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except* OSError:
            pass  # either end went away: so does the other

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(1 << 16):
            await self.open.wait()
            writer.write(part)
            await writer.drain()
        raise ConnectionResetError

    async def _pump_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(1 << 16):
            await self.open.wait()
            writer.write(self._allowed(part))
            await writer.drain()
            if self.cut_after == 0:
                self.cut_after = None
                self.cuts += 1
                raise ConnectionResetError
        raise ConnectionResetError

    def _allowed(self, part: bytes) -> bytes:
        if self.cut_after is None:
            return part
        allowed = part[: self.cut_after]
        self.cut_after -= len(allowed)
        return allowed
