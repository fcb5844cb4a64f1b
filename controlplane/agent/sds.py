"""A local secret server: gives one proxy its certificate and key, the mesh's roots, and what files hold.

Generated TLS names the static cluster ``sds-grpc`` for them. An Envoy whose secrets never come does not finish
initialising: it serves nothing at all, plaintext included. Envoy opens one stream per secret, state of the world or
incremental, so both forms are served. Reference: ``envoy.service.secret.v3.SecretDiscoveryService``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import structlog
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from controlplane.agent.addresses import Address, TcpAddress
from controlplane.agent.secrets import Secrets

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
TYPE_URL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

log = structlog.get_logger(__name__)


class SecretServer:
    """Serves secrets on a unix socket or a loopback port, and new ones when they change."""

    def __init__(self, secrets: Secrets, where: Address) -> None:
        """Prepare the server; ``where`` with port 0 takes a free port, known from ``start``."""
        self._where = where
        self._secrets = secrets
        self._server: grpc.aio.Server | None = None

    async def start(self) -> Address:
        """Listen, and return where. Raises ``OSError`` when the address is taken or cannot be bound."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "StreamSecrets": grpc.stream_stream_rpc_method_handler(
                            self._stream_secrets,
                            discovery_pb2.DiscoveryRequest.FromString,
                            discovery_pb2.DiscoveryResponse.SerializeToString,
                        ),
                        "DeltaSecrets": grpc.stream_stream_rpc_method_handler(
                            self._delta_secrets,
                            discovery_pb2.DeltaDiscoveryRequest.FromString,
                            discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
                        ),
                    },
                ),
            )
        )
        target = str(self._where) if isinstance(self._where, TcpAddress) else f"unix:{self._where}"
        try:
            port = server.add_insecure_port(target)
        except RuntimeError as error:  # grpc's only word for every failure to bind
            message = f"cannot serve secrets on {target}: {error}"
            raise OSError(message) from error
        await server.start()
        self._server = server
        if isinstance(self._where, TcpAddress):
            self._where = TcpAddress(self._where.host, port)
        return self._where

    async def stop(self) -> None:
        """End every stream and stop listening; the unix socket's file is removed."""
        if self._server is not None:
            await self._server.stop(grace=0)
            self._server = None
        if isinstance(self._where, Path):
            self._where.unlink(missing_ok=True)

    async def _events(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield each request of a stream, and ``None`` whenever the secrets were replaced."""
        queue: asyncio.Queue[Any] = asyncio.Queue()
        ended = object()

        async def read() -> None:
            try:
                async for request in requests:
                    queue.put_nowait(request)
            finally:
                queue.put_nowait(ended)

        forget = self._secrets.listen(lambda: queue.put_nowait(None))
        reader = asyncio.create_task(read())
        try:
            while (event := await queue.get()) is not ended:
                yield event
        finally:
            forget()
            reader.cancel()

    async def _stream_secrets(
        self, requests: AsyncIterator[Any], _context: object
    ) -> AsyncIterator[discovery_pb2.DiscoveryResponse]:
        """Serve one state-of-the-world stream: answer new names and new secrets, never an acknowledgement."""
        names: frozenset[str] = frozenset()
        answered: tuple[frozenset[str], str] | None = None
        async for request in self._events(requests):
            if request is not None:
                _report_refusal(request)
                names = frozenset(request.resource_names)
            found = self._found(names)
            version = _version(found.values())
            if not found or answered == (names, version):
                continue
            answered = (names, version)
            yield discovery_pb2.DiscoveryResponse(
                type_url=TYPE_URL,
                version_info=version,
                nonce=version,
                resources=[_packed(secret) for secret in found.values()],
            )

    async def _delta_secrets(
        self, requests: AsyncIterator[Any], _context: object
    ) -> AsyncIterator[discovery_pb2.DeltaDiscoveryResponse]:
        """Serve one incremental stream: send each subscribed secret that the proxy does not hold yet."""
        held: dict[str, str] = {}
        names: set[str] = set()
        async for request in self._events(requests):
            if request is not None:
                _report_refusal(request)
                names |= set(request.resource_names_subscribe)
                names -= set(request.resource_names_unsubscribe)
                for name in (*request.resource_names_subscribe, *request.resource_names_unsubscribe):
                    held.pop(name, None)  # a repeated subscription is answered again
                held.update(request.initial_resource_versions)
            found = self._found(names)
            versions = {name: _version([secret]) for name, secret in found.items()}
            changed = [name for name, version in versions.items() if held.get(name) != version]
            if not changed:
                continue
            held.update(versions)
            yield discovery_pb2.DeltaDiscoveryResponse(
                type_url=TYPE_URL,
                nonce=_version(found[name] for name in changed),
                resources=[
                    discovery_pb2.Resource(name=name, version=versions[name], resource=_packed(found[name]))
                    for name in changed
                ],
            )

    def _found(self, names: Iterable[str]) -> dict[str, Secret]:
        """Return the secrets of these names that there are; the others are answered when they come."""
        found = {name: self._secrets.find(name) for name in sorted(names)}
        return {name: secret for name, secret in found.items() if secret is not None}


def _report_refusal(request: Any) -> None:  # noqa: ANN401 - either form of request
    if request.error_detail.code:
        log.warning("agent.secret_refused", node_id=request.node.id, reason=request.error_detail.message)


def _version(values: Iterable[Secret]) -> str:
    """Return a hash of these secrets: equal for equal content."""
    digest = hashlib.blake2b(digest_size=8)
    for secret in values:
        digest.update(secret.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _packed(secret: Secret) -> AnyMessage:
    return AnyMessage(type_url=TYPE_URL, value=secret.SerializeToString(deterministic=True))
