"""The names of port protocols, as users may write them (any case)."""

from __future__ import annotations

HTTP_PROTOCOLS = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})
TLS_PROTOCOLS = frozenset({"HTTPS", "TLS"})
TCP_PROTOCOLS = frozenset({"TCP", "MONGO", "REDIS", "MYSQL"})
PROTOCOLS = HTTP_PROTOCOLS | TLS_PROTOCOLS | TCP_PROTOCOLS | {"UDP", "HBONE"}


def is_protocol(name: str) -> bool:
    """Whether this names a protocol."""
    return name.upper() in PROTOCOLS


def is_http(name: str) -> bool:
    """Whether requests are read on such a port."""
    return name.upper() in HTTP_PROTOCOLS


def is_tls(name: str) -> bool:
    """Whether such a port is TLS from the first byte."""
    return name.upper() in TLS_PROTOCOLS
