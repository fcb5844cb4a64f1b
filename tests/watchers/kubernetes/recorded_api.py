"""A small API server over a real socket, for faults that a real one does not produce on demand.

It keeps raw objects by path, lists them in pages and streams events as kube-apiserver does; ``answer_next`` puts
another answer in place of the next one, and ``requests`` tells what was asked.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from controlplane.apis.kinds import KINDS

RawObject = dict[str, Any]
SERVICES = "/api/v1/services"
NAMESPACES = "/api/v1/namespaces"
PODS = "/api/v1/pods"
MESH = "/api/v1/namespaces/istio-system/configmaps"
POLICIES = "/apis/security.istio.io/v1/authorizationpolicies"
VIRTUAL_SERVICES = "/apis/networking.istio.io/v1/virtualservices"


@dataclass
class Request:
    """One request: ``verb`` is ``list``, ``watch`` or ``get`` (discovery)."""

    path: str
    verb: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def status(code: int, message: str = "no", **headers: str) -> Answer:
    """Return an answer that refuses."""

    async def send(writer: asyncio.StreamWriter) -> None:
        respond(writer, code, json.dumps({"kind": "Status", "code": code, "message": message}).encode(), headers)

    return send


def text(body: bytes, code: int = 200) -> Answer:
    """Return an answer with any body."""

    async def send(writer: asyncio.StreamWriter) -> None:
        respond(writer, code, body, {})

    return send


def stream(*parts: bytes, after: asyncio.Event | None = None, stay: bool = False) -> Answer:
    """Return the answer to a watch: these bytes (``after`` something), then a cut, or it stays open in silence."""

    async def send(writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        await writer.drain()
        if after is not None:
            await after.wait()
        for part in parts:
            chunk(writer, part)
            await writer.drain()
        if stay:
            await asyncio.Event().wait()
        writer.close()

    return send


def hold() -> Answer:
    """Return an answer that never comes."""

    async def send(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    return send


def respond(writer: asyncio.StreamWriter, code: int, body: bytes, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)


def begin_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")


def chunk(writer: asyncio.StreamWriter, part: bytes) -> None:
    writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")


def event(kind: str, raw: RawObject) -> bytes:
    """Return one line of a watch."""
    return encoded({"type": kind, "object": raw}) + b"\n"


def deep(levels: int) -> str:
    """Return what stands for lists in lists, which may be deeper than Python's own reader and writer of JSON go."""
    return f"@{levels}@"


def encoded(value: object) -> bytes:
    """Return JSON."""
    return re.sub('"@([0-9]+)@"', lambda found: "[" * int(found[1]) + "]" * int(found[1]), json.dumps(value)).encode()


class RecordedApi:
    """The server; an asynchronous context manager. ``served`` are the versions by (group, plural), the best first."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[Request] = []
        self.revision = 100
        self.served: dict[tuple[str, str], list[str]] = {
            (kind.group, kind.plural): list(kind.versions) for kind in KINDS.values()
        }
        self._kubeconfig = folder / "kubeconfig"
        self._objects: defaultdict[str, dict[tuple[str, str], RawObject]] = defaultdict(dict)
        self._watches: defaultdict[str, list[asyncio.Queue[bytes]]] = defaultdict(list)
        self._history: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self._next: defaultdict[tuple[str, str], deque[Answer]] = defaultdict(deque)
        self._always: dict[tuple[str, str], Answer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig file for it."""
        return str(self._kubeconfig)

    async def __aenter__(self) -> Self:
        await self.start()
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        user = {"name": "u", "user": {"token": "t"}}
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user], "contexts": [context]}
        self._kubeconfig.write_text(json.dumps({**config, "current-context": "c"}))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, after a stop on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # what it holds

    def put(self, path: str, raw: RawObject, *, told: bool = True) -> RawObject:
        """Store an object; unless it is not ``told``, those who watch learn of it. Return what is stored."""
        self.revision += 1
        stored = copy.deepcopy(raw)
        place = _place(stored)
        known = place in self._objects[path]
        stored["metadata"]["resourceVersion"] = str(self.revision)
        self._objects[path][place] = stored
        if told:
            self._tell(path, event("MODIFIED" if known else "ADDED", stored))
        return stored

    def delete(self, path: str, raw: RawObject, *, told: bool = True) -> None:
        """Remove an object."""
        self.revision += 1
        gone = self._objects[path].pop(_place(raw))
        gone["metadata"]["resourceVersion"] = str(self.revision)
        if told:
            self._tell(path, event("DELETED", gone))

    def bookmark(self, path: str) -> None:
        """Tell those who watch how far they are."""
        self._tell(path, event("BOOKMARK", {"metadata": {"resourceVersion": str(self.revision)}}))

    def send(self, path: str, line: bytes) -> None:
        """Send any line to those who watch."""
        for queue in self._watches[path]:
            queue.put_nowait(line)

    def end_watches(self, path: str) -> None:
        """End all watches of a path in an orderly way, as after ``timeoutSeconds``."""
        for queue in self._watches[path]:
            queue.put_nowait(b"")

    def answer_next(self, path: str, verb: str, *answers: Answer) -> None:
        """Answer the next requests like this instead."""
        self._next[path, verb].extend(answers)

    def answer_always(self, path: str, verb: str, answer: Answer | None) -> None:
        """Answer all requests like this, until ``None`` ends it."""
        if answer is None:
            del self._always[path, verb]
        else:
            self._always[path, verb] = answer

    def asked(self, path: str, verb: str) -> list[Request]:
        """Return the requests so far of a path and verb."""
        return [request for request in self.requests if (request.path, request.verb) == (path, verb)]

    def watching(self, path: str) -> int:
        """Return how many watches stand."""
        return len(self._watches[path])

    def _tell(self, path: str, line: bytes) -> None:
        self._history[path].append((self.revision, line))
        self.send(path, line)

    # how it answers

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(_request(head.decode()), writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        where = (request.path, request.verb)
        if where in self._always:
            await self._always[where](writer)
        elif self._next[where]:
            await self._next[where].popleft()(writer)
        elif request.path == "/apis":
            respond(writer, 200, self._discovery(), {})
        elif not self._is_served(request.path):
            await status(404, "the server could not find the requested resource")(writer)
        elif request.verb == "watch":
            await self._watch(request, writer)
        else:
            respond(writer, 200, self._page(request), {})

    def _discovery(self) -> bytes:
        groups: defaultdict[str, defaultdict[str, list[RawObject]]] = defaultdict(lambda: defaultdict(list))
        for (group, plural), versions in self.served.items():
            for version in versions:
                groups[group][version].append({"resource": plural})
        items = [
            {"metadata": {"name": group}, "versions": [{"version": v, "resources": r} for v, r in versions.items()]}
            for group, versions in groups.items()
        ]
        return json.dumps({"kind": "APIGroupDiscoveryList", "items": items}).encode()

    def _is_served(self, path: str) -> bool:
        parts = path.split("/")
        if "istio.io" not in path:
            return True
        return parts[3] in self.served.get((parts[2], parts[-1]), ())

    def _page(self, request: Request) -> bytes:
        named = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        found = [raw for place, raw in sorted(self._objects[request.path].items()) if named in ("", place[1])]
        first, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "0")) or len(found)
        metadata = {"resourceVersion": str(self.revision)}
        if first + limit < len(found):
            metadata["continue"] = str(first + limit)
        return encoded({"metadata": metadata, "items": found[first : first + limit]})

    async def _watch(self, request: Request, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for revision, line in self._history[request.path]:
            if revision > int(request.query["resourceVersion"]):
                queue.put_nowait(line)
        self._watches[request.path].append(queue)
        try:
            while line := await queue.get():
                chunk(writer, line)
                await writer.drain()
            chunk(writer, b"")
        finally:
            self._watches[request.path].remove(queue)


def _place(raw: RawObject) -> tuple[str, str]:
    return raw["metadata"].get("namespace", ""), raw["metadata"]["name"]


def _request(head: str) -> Request:
    first, *rest = head.splitlines()
    url = urlsplit(first.split(" ")[1])
    query = dict(parse_qsl(url.query))
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    verb = "get" if url.path == "/apis" else "watch" if query.get("watch") else "list"
    return Request(url.path, verb, query, headers)
