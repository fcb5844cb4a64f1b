"""The addresses of this machine's interfaces, as the kernel tells them, and host:port texts."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

IPV6_ADDRESSES = Path("/proc/thread-self/net/if_inet6")  # of the thread: one may be in a namespace of a pod
_SIOCGIFCONF = 0x8912
_RECORD = struct.Struct("16sH2x4s16x")  # struct ifreq: name, then a sockaddr_in
_ROOM = 512  # addresses
IPV4, IPV6 = 4, 6


class InterfaceAddress(NamedTuple):
    """An address of an interface; they sort as the kernel lists them."""

    interface: int
    version: int
    text: str


class TcpAddress(NamedTuple):
    """A host (IP literal or DNS name) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> TcpAddress:
        """Read ``host:port`` or ``[host]:port``. Raises ``ValueError``."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ValueError(f"{text!r} is not an address with a port, such as istiod.istio-system.svc:15012")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))


Address = TcpAddress | Path
"""Where something listens: TCP, or the path of a unix socket."""


def interface_addresses() -> list[InterfaceAddress]:
    """Return every address of every interface, loopback too, in the kernel's order of interfaces."""
    return sorted(_addresses())


def reachable(addresses: Iterable[InterfaceAddress], excluded: Collection[str] = ()) -> Iterator[str]:
    """Yield those that others can reach, but for those of some interfaces: neither loopback nor link-local."""
    numbers = {index for index, name in socket.if_nameindex() if name in excluded}
    for each in addresses:
        address = ipaddress.ip_address(each.text)
        if each.interface not in numbers and not (address.is_loopback or address.is_link_local):
            yield each.text


def _addresses() -> Iterable[InterfaceAddress]:
    yield from _ipv4()
    if IPV6_ADDRESSES.exists():
        for line in IPV6_ADDRESSES.read_text(encoding="ascii").splitlines():
            digits, index, *_ = line.split()
            yield InterfaceAddress(int(index, 16), IPV6, str(ipaddress.IPv6Address(int(digits, 16))))


def _ipv4() -> Iterable[InterfaceAddress]:
    room = bytearray(_RECORD.size * _ROOM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        buffer = (len(room), ctypes.addressof(ctypes.c_char.from_buffer(room)))
        answer = fcntl.ioctl(asked, _SIOCGIFCONF, struct.pack("iL", *buffer))
    (size,) = struct.unpack_from("i", answer)
    for at in range(0, size, _RECORD.size):
        name, family, packed = _RECORD.unpack_from(room, at)
        if family == socket.AF_INET:
            label = name.partition(b"\0")[0].decode(errors="replace").partition(":")[0]
            yield InterfaceAddress(socket.if_nametoindex(label), IPV4, socket.inet_ntoa(packed[-4:]))
