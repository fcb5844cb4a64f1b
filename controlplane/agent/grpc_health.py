"""Asks a gRPC server for the health of a service. Reference: ``grpc.health.v1.Health/Check``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import grpc.aio

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.http.client import NoAnswerError

_CHECK = "/grpc.health.v1.Health/Check"
_SERVICE_FIELD, _STATUS_FIELD = 0x0A, 0x08
_STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
_LONGEST_NAME = 127  # whose length is one byte


async def ask_health(where: TcpAddress, service: str, timeout: timedelta | None) -> None:  # noqa: ASYNC109 - of the call
    """Return when the service is SERVING. Raises ``NoAnswerError`` with what it says instead, or why nothing."""
    name = service.encode()
    if len(name) > _LONGEST_NAME:
        raise NoAnswerError(f"{where}: the name of the service has more than {_LONGEST_NAME} bytes")
    request = bytes([_SERVICE_FIELD, len(name)]) + name if name else b""
    async with grpc.aio.insecure_channel(f"dns:///{where}", _OPTIONS) as channel:
        opened: Any = channel  # whose types ask for a serializer; bytes need none
        try:
            call = opened.unary_unary(_CHECK)
            answer = await call(request, timeout=timeout.total_seconds() if timeout is not None else None)
        except grpc.aio.AioRpcError as error:
            raise NoAnswerError(f"{where}: {error.code().name}: {error.details()}") from None
    state = answer[1] if len(answer) > 1 and answer[0] == _STATUS_FIELD else 0
    name_of_state = _STATES[state] if state < len(_STATES) else str(state)
    if name_of_state != "SERVING":
        raise NoAnswerError(f"{where}: service {service!r} is {name_of_state}")
