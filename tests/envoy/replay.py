"""A stock Envoy that holds a snapshot, and calls that reach it as if they had been made to any address.

The snapshot becomes a static bootstrap. Each listener that is bound takes the PROXY protocol first, so that one
connection to loopback can say which address and port it is for and where it comes from: what iptables do for a pod.
Clusters without endpoints of their own lead to the backend. What Envoy thought of each call stands in its access log.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext

from controlplane.agent.binary import envoy_binary
from controlplane.agent.identity import WorkloadIdentity
from controlplane.simulate.call import Call
from controlplane.snapshots import ResourceType, Snapshot
from samples.authority import LocalAuthority
from samples.control_plane import LOOPBACK, free_port
from samples.process import ChildProcess
from tests.envoy.servers import load
from tests.patience import in_time

READY = timedelta(seconds=120)
_FORMAT = {
    "id": "%DOWNSTREAM_REMOTE_PORT%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "route": "%ROUTE_NAME%",
    "host": "%UPSTREAM_HOST%",
}


@dataclass(frozen=True, slots=True)
class Happened:
    """What became of a call: the answer (status 0: the connection was closed), and what Envoy logged of it.

    ``seen`` is what the backend was asked, where it was.
    """

    status: int = 0
    location: str = ""
    seen: Mapping[str, Any] | None = None
    logged: Mapping[str, Any] = field(default_factory=dict)


class EchoBackend:
    """Answers every HTTP request, on every address of loopback, with what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._answer, "0.0.0.0", port)
        self.port = port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (letter := await reader.read(1)).isalpha():  # else it is no HTTP
                head = letter + await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}
                host, port = writer.get_extra_info("sockname")[:2]
                asked = {"path": first.split(" ")[1], "host": headers.get("host"), "at": f"{host}:{port}"}
                body = json.dumps(asked).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
                if headers.get("connection") == "close":  # the client's own word: bytes that were handed on
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError):
            pass  # no HTTP, or the client is gone
        finally:
            writer.close()


class Replay:
    """One Envoy with one snapshot; ``inbound`` says that calls reach the server's side of a sidecar."""

    def __init__(self, snapshot: Snapshot, folder: Path, backend_port: int) -> None:
        self._log = folder / "access.log"
        self._authority = LocalAuthority()
        self._identities: dict[str, WorkloadIdentity] = {}
        self._ports: dict[int, int] = {}
        self._backend_port = backend_port
        self._admin = free_port()
        path = folder / "static.pb"
        path.write_bytes(self._bootstrap(snapshot).SerializeToString())
        command = [str(envoy_binary()), "-c", str(path), "--log-level", "error", "--concurrency", "1"]
        command += ["--disable-hot-restart", "--skip-deprecated-logs"]
        self.process = ChildProcess("envoy", command, folder / "envoy.log")

    async def start(self) -> None:
        await self.process.start()
        await self.process.wait_until(self._ready, READY)

    async def _ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{LOOPBACK}:{self._admin}/ready") as response,
            ):
                return response.status == 200
        except (OSError, aiohttp.ClientError):
            return False

    async def happened(self, calls: Sequence[Call], capture: int = 0) -> list[Happened]:
        """Make all calls, end Envoy, and return what became of each; ``capture`` is the port that takes all."""
        found = []
        for number, call in enumerate(calls):
            found.append(await in_time(self._one(call, number + 1, capture)))
        await self.process.stop()
        logged = {str(entry["id"]): entry for entry in self._logged()}
        return [replace(each, logged=logged.get(str(number + 1), {})) for number, each in enumerate(found)]

    def _logged(self) -> Iterator[dict[str, Any]]:
        text = self._log.read_text() if self._log.exists() else ""
        yield from (json.loads(line) for line in text.splitlines())

    async def _one(self, call: Call, number: int, capture: int) -> Happened:
        port = self._ports.get(capture or call.port)
        if port is None:
            return Happened()  # nothing is bound there
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"PROXY TCP4 {call.source} {call.address} {number} {call.port}\r\n".encode())
            if call.tls:
                await writer.start_tls(self._context(call), server_hostname=call.server_name or None)
            if not call.http:
                writer.write(b"\x00not http at all\r\n\r\n")
                await writer.drain()
                writer.write_eof() if writer.can_write_eof() else None
            else:
                writer.write(_written(call))
            await writer.drain()
            answer = await reader.read()
            return _answered(answer)
        except (OSError, ssl.SSLError, EOFError):
            return Happened()
        finally:
            writer.close()

    def _context(self, call: Call) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if call.alpn:
            context.set_alpn_protocols(list(call.alpn))
        if call.identity:
            if call.identity not in self._identities:
                self._identities[call.identity] = self._authority.issue(call.identity)
            load(context, self._identities[call.identity])
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _bootstrap(self, snapshot: Snapshot) -> Any:
        made = Bootstrap()
        made.node.id, made.node.cluster = "replay", "replay"
        made.admin.address.socket_address.address = LOOPBACK
        made.admin.address.socket_address.port_value = self._admin
        static = made.static_resources
        for name, resource in snapshot.of(ResourceType.CLUSTER).items():
            static.clusters.append(self._cluster(snapshot, name, resource.body))
        for resource in snapshot.of(ResourceType.LISTENER).values():
            static.listeners.append(self._listener(snapshot, resource.body))
        for resource in snapshot.of(ResourceType.SECRET).values():
            static.secrets.append(Secret.FromString(resource.body))
        own = self._authority.issue("spiffe://cluster.local/ns/default/sa/default")
        secret = static.secrets.add(name="default")
        secret.tls_certificate.certificate_chain.inline_bytes = own.certificate_chain
        secret.tls_certificate.private_key.inline_bytes = own.private_key
        roots = static.secrets.add(name="ROOTCA")
        roots.validation_context.trusted_ca.inline_bytes = self._authority.root_certificate
        return made

    def _cluster(self, snapshot: Snapshot, name: str, body: bytes) -> Any:
        cluster = Cluster.FromString(body)
        for match in cluster.transport_socket_matches:
            _without_sds(match.transport_socket, UpstreamTlsContext)
        _without_sds(cluster.transport_socket, UpstreamTlsContext)
        if cluster.type == Cluster.EDS:
            held = snapshot.of(ResourceType.ENDPOINT).get(cluster.eds_cluster_config.service_name or name)
            cluster.type = Cluster.STATIC
            cluster.ClearField("eds_cluster_config")
            if held is not None:
                cluster.load_assignment.ParseFromString(held.body)
            cluster.load_assignment.cluster_name = name
        elif cluster.type == Cluster.ORIGINAL_DST:
            cluster.type = Cluster.STATIC
            cluster.lb_policy = Cluster.ROUND_ROBIN
            cluster.ClearField("original_dst_lb_config")
            cluster.ClearField("upstream_bind_config")
            cluster.load_assignment.CopyFrom(self._to_backend(name))
        return cluster

    def _to_backend(self, name: str) -> Any:
        made = ClusterLoadAssignment(cluster_name=name)
        where = made.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        where.address, where.port_value = "127.255.0.1", self._backend_port
        return made

    def _listener(self, snapshot: Snapshot, body: bytes) -> Any:
        listener = Listener.FromString(body)
        bound = not listener.HasField("bind_to_port") or listener.bind_to_port.value
        where = listener.address.socket_address
        if bound:
            port = self._ports[where.port_value] = free_port()
            first = Listener(listener_filters=[{"name": "proxy"}])
            first.listener_filters[0].typed_config.Pack(ProxyProtocol())
            first.listener_filters.extend(listener.listener_filters)
            listener.ClearField("listener_filters")
            listener.listener_filters.extend(each for each in first.listener_filters if "original_dst" not in each.name)
            where.address, where.port_value = LOOPBACK, port
        for chain in _chains(listener):
            _without_sds(chain.transport_socket, DownstreamTlsContext)
            for filter_ in chain.filters:
                self._observe(filter_, snapshot)
        return listener

    def _observe(self, filter_: Any, snapshot: Snapshot) -> None:
        """Have a filter log, and have its routes in it."""
        config = filter_.typed_config
        if config.Is(HttpConnectionManager.DESCRIPTOR):
            manager = HttpConnectionManager.FromString(config.value)
            held = snapshot.of(ResourceType.ROUTE).get(manager.rds.route_config_name)
            if held is not None:
                manager.route_config.CopyFrom(RouteConfiguration.FromString(held.body))
                manager.route_config.validate_clusters.value = False
            elif manager.HasField("rds"):
                manager.route_config.name = "none"
            manager.ClearField("access_log")
            manager.access_log.append(self._access_log())
            config.Pack(manager)
        elif config.Is(TcpProxy.DESCRIPTOR):
            proxy = TcpProxy.FromString(config.value)
            proxy.ClearField("access_log")
            proxy.access_log.append(self._access_log())
            config.Pack(proxy)

    def _access_log(self) -> Any:
        made = FileAccessLog(path=str(self._log))
        made.log_format.json_format.update(_FORMAT)
        log = AccessLog(name="file")
        log.typed_config.Pack(made)
        return log


def _chains(listener: Any) -> Iterator[Any]:
    yield from listener.filter_chains
    if listener.HasField("default_filter_chain"):
        yield listener.default_filter_chain


def _without_sds(socket: Any, message: Any) -> None:
    """Have a TLS context find its secrets in the bootstrap."""
    if not socket.typed_config.Is(message.DESCRIPTOR):
        return
    context = message.FromString(socket.typed_config.value)
    common = context.common_tls_context
    for each in common.tls_certificate_sds_secret_configs:
        each.ClearField("sds_config")
    if common.HasField("combined_validation_context"):
        common.combined_validation_context.validation_context_sds_secret_config.ClearField("sds_config")
    if common.HasField("validation_context_sds_secret_config"):
        common.validation_context_sds_secret_config.ClearField("sds_config")
    socket.typed_config.Pack(context)


def _written(call: Call) -> bytes:
    lines = [f"{call.method} {call.path} HTTP/1.1", f"host: {call.host}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in call.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _answered(answer: bytes) -> Happened:
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/"):
        return Happened()
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    status = int(first.split(" ")[1])
    text = body.decode("latin-1")
    seen = json.loads(text[text.index("{") : text.rindex("}") + 1]) if status == 200 and '"at"' in text else None
    return Happened(status, headers.get("location", ""), seen)
