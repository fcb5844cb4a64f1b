"""Whether a pod's traffic is led to its proxy: ``--run-validation``, before there is one.

It listens where the proxy would, and connects to an address of the loopback range that nobody has: with the rules the
connection comes to one of the proxy's ports, without them to nobody. So it has to run as the proxy's user.
Reference: tools/istio-iptables/pkg/validation of Istio.
"""

from __future__ import annotations

import ipaddress
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from controlplane.agent.addresses import TcpAddress

FAILED = 126
"""Exit code of a pod whose traffic is not led anywhere: what repairs such pods looks for it."""

_ORIGINAL_DESTINATION = 80  # SO_ORIGINAL_DST, of IPv4 and of IPv6
_SOCKADDR_IN, _SOCKADDR_IN6 = struct.Struct("!2xH4s8x"), struct.Struct("!2xHI16sI")
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_NOBODY = {socket.AF_INET: "127.0.0.6", socket.AF_INET6: "::6"}
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Validation:
    """What is checked: ``ports`` of the proxy, the port that is connected to, and for how long it may fail."""

    ports: tuple[int, int]
    probe_port: int
    seconds: float


def problem(validation: Validation, *, ipv6: bool) -> str | None:
    """Return what is wrong with how traffic is led in this network namespace; ``None`` where it reaches the proxy.

    Raises:
        OSError: a port of the proxy cannot be listened on.
    """
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    target = TcpAddress(_NOBODY[family], validation.probe_port)
    deadline = time.monotonic() + validation.seconds
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listener(family, port)) for port in validation.ports]
        while True:
            found = _attempt(family, target, listeners, deadline)
            if found is None or time.monotonic() >= deadline:
                return found
            time.sleep(min(_PAUSE_SECONDS, max(deadline - time.monotonic(), 0)))


def _listener(family: socket.AddressFamily, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((_LOOPBACK[family], port))
    listener.listen()
    return listener


def _attempt(
    family: socket.AddressFamily, target: TcpAddress, listeners: Sequence[socket.socket], deadline: float
) -> str | None:
    """Connect once; return what is wrong."""
    with socket.socket(family, socket.SOCK_STREAM) as caller:
        caller.settimeout(max(deadline - time.monotonic(), _PAUSE_SECONDS))
        try:
            caller.connect(target)
        except OSError as error:
            return f"a connection to {target} does not reach the proxy: {error}"
        for accepted in _accepted(listeners, caller.getsockname()[:2]):
            with accepted:
                came = _original(family, accepted)
                if came != target:
                    return f"a connection to {target} comes to the proxy as one to {came}"
                return None
    return f"a connection to {target} is taken by somebody else than the proxy"


def _accepted(listeners: Sequence[socket.socket], caller: tuple[str, int]) -> Iterator[socket.socket]:
    """Yield the connection of a caller, where one of these has it."""
    with selectors.DefaultSelector() as selector:
        for each in listeners:
            selector.register(each, selectors.EVENT_READ)
        for key, _ in selector.select(_PAUSE_SECONDS):
            listener: socket.socket = key.fileobj  # type: ignore[assignment] # they were registered above
            accepted, peer = listener.accept()
            if peer[:2] == caller:
                yield accepted
            else:
                accepted.close()


def _original(family: socket.AddressFamily, accepted: socket.socket) -> TcpAddress | None:
    """Return where a connection was going before it was led here."""
    level, shape = (socket.SOL_IP, _SOCKADDR_IN) if family == socket.AF_INET else (socket.IPPROTO_IPV6, _SOCKADDR_IN6)
    try:
        raw = accepted.getsockopt(level, _ORIGINAL_DESTINATION, shape.size)
    except OSError:  # nobody led it: it was meant for this port
        return None
    port, *rest = shape.unpack(raw)
    return TcpAddress(str(ipaddress.ip_address(rest[0] if family == socket.AF_INET else rest[1])), port)
