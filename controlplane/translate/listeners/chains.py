"""Filter chains as plans: what a chain matches and where it leads, as values that compare and can be shared."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.base_pb2 import Metadata
from envoy.config.listener.v3.listener_components_pb2 import FilterChainMatch

from controlplane.model.service import Protocol

RAW_BUFFER = "raw_buffer"
TLS = "tls"
PLAIN_HTTP_ALPN = ("http/1.1", "h2c")
MTLS_HTTP_ALPN = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MTLS_TCP_ALPN = ("istio-peer-exchange", "istio")
ALL_ISTIO_ALPN = ("istio", "istio-peer-exchange", *MTLS_HTTP_ALPN)
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """What a DestinationRule asks of a TCP proxy; the defaults ask nothing. ``tunnel`` is (host:port, use POST)."""

    idle_timeout: timedelta | None = None
    max_duration: timedelta | None = None
    hash_source_ip: bool = False
    tunnel: tuple[str, bool] | None = None


@dataclass(frozen=True, slots=True)
class TcpTarget:
    """Where the bytes of a connection go: clusters with weights (one cluster: the weight does not matter)."""

    stat_prefix: str
    clusters: tuple[tuple[str, int], ...]
    settings: TcpSettings = TcpSettings()
    protocol: Protocol = Protocol.TCP

    @classmethod
    def of(cls, cluster: str) -> TcpTarget:
        """Send everything to one cluster, counted under its name."""
        return cls(cluster, ((cluster, 1),))


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """HTTP by the route configuration of this name; ``grpc_web`` where the first service speaks it.

    ``resolves`` is set where routes may lead to hosts that are resolved when a request names them.
    """

    route: str
    grpc_web: bool = False
    resolves: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """One filter chain: everything of the match that is empty matches anything.

    ``prefixes`` are CIDRs as the user wrote them. ``origin`` is the API path of the object the chain comes from.
    """

    target: TcpTarget | HttpTarget
    transport: str = ""
    alpn: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    origin: str = ""
    _signature: Signature | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def signature(self) -> Signature:
        """What no other chain of the listener may have in common with this one; it is worked out once."""
        if self._signature is None:
            names = frozenset(name for name in self.server_names if name != "*")
            made = (self.transport, self.alpn, names, frozenset(_masked(self.prefixes)))
            object.__setattr__(self, "_signature", made)
            return made
        return self._signature

    @property
    def matches_all(self) -> bool:
        """Whether any connection would do."""
        if self.transport or self.alpn:
            return False
        return not (self.server_names and self.wanted_names) and not (self.prefixes and _masked(self.prefixes))

    @property
    def wanted_names(self) -> tuple[str, ...]:
        """The server names to match, sorted; none where any will do. Of names that differ in case only one counts."""
        if "*" in self.server_names:
            return ()
        return tuple(sorted({name.lower(): name for name in reversed(self.server_names)}.values()))

    @property
    def is_http(self) -> bool:
        """Whether the chain leads to HTTP routes."""
        return isinstance(self.target, HttpTarget)

    def for_plain_http(self, *, http10: bool = False) -> Chain:
        """Return the chain restricted to plain HTTP, as the listener's inspector detects it."""
        alpn = plain_http_alpn(http10=http10)
        return Chain(self.target, RAW_BUFFER, alpn, self.server_names, self.prefixes, self.origin)


class Matched:
    """What the chains of one listener match so far: each server name and range belongs to the first that asks for both.

    Envoy refuses a listener where two chains have even one of these in common.
    """

    def __init__(self) -> None:
        self._taken: set[tuple[str, tuple[str, ...], str, str]] = set()

    def add(self, chain: Chain) -> Chain | None:
        """Return the chain with what nobody has yet, ``None`` where nothing is left; an empty name or range is any."""
        names, ranges = chain.wanted_names or ("",), _masked(chain.prefixes) or ("",)
        asked = {(chain.transport, chain.alpn, name.lower(), within) for name in names for within in ranges}
        clash = asked & self._taken
        if not clash:
            self._taken |= asked
            return chain
        free = tuple(name for name in chain.wanted_names if not any(name.lower() == each[2] for each in clash))
        if free:
            return self.add(replace(chain, server_names=free))
        busy = {each[3] for each in clash}
        outside = tuple(text for text in chain.prefixes if not busy.issuperset(_masked((text,))))
        return self.add(replace(chain, prefixes=outside)) if outside else None


def apart(chains: Iterable[Chain]) -> tuple[Chain, ...]:
    """Return the chains with what each is the first to ask for; one that is left without any goes."""
    matched = Matched()
    return tuple(left for chain in chains if (left := matched.add(chain)) is not None)


Signature = tuple[str, tuple[str, ...], frozenset[str], frozenset[str]]
"""What two chains must not have in common: transport, protocols, server names but ``*``, masked address ranges."""


def plain_http_alpn(*, http10: bool = False) -> tuple[str, ...]:
    """Return the protocols that the HTTP inspector reports for HTTP in plain text."""
    return ("http/1.0", *PLAIN_HTTP_ALPN) if http10 else PLAIN_HTTP_ALPN


def chain_match(chain: Chain) -> FilterChainMatch:
    """Return the match of a chain, names and address ranges sorted, each once: Envoy refuses one that repeats."""
    ranges = {network: text for text in sorted(chain.prefixes, reverse=True) if (network := _network(text)) is not None}
    return FilterChainMatch(
        transport_protocol=chain.transport,
        application_protocols=chain.alpn,
        server_names=chain.wanted_names,
        prefix_ranges=[cidr_range(text) for text in sorted(ranges.values())],
    )


def cidr_range(text: str) -> CidrRange:
    """Return an address or CIDR as Envoy writes it; host bits stay as they were written."""
    address, _, length = text.partition("/")
    bits = int(length) if length else ipaddress.ip_address(address).max_prefixlen
    result = CidrRange(address_prefix=address)
    result.prefix_len.value = bits
    return result


def _masked(prefixes: Iterable[str]) -> tuple[str, ...]:
    return tuple(network for text in prefixes if (network := _network(text)) is not None)


def _network(text: str) -> str | None:
    """Return the range without host bits, ``None`` for one that excludes nothing or cannot be read (which was said)."""
    if text.partition("/")[0] in _ANY_ADDRESS:
        return None
    try:
        return _masked_text(text) if len(text) <= _LONGEST_KEPT else str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


_LONGEST_KEPT = 64


@lru_cache(maxsize=4096)
def _masked_text(text: str) -> str:
    """Remember ranges: each port of a service has the same, and Python takes 30 microseconds to read one."""
    return str(ipaddress.ip_network(text, strict=False))


def origin_metadata(path: str) -> Metadata:
    """Return the metadata that names the object behind a resource."""
    metadata = Metadata()
    metadata.filter_metadata["istio"].fields["config"].string_value = path
    return metadata
