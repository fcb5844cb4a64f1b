"""Which listener takes a connection, and which of its filter chains.

Reference: envoy.config.listener.v3.FilterChainMatch, and "original destination" of the listener filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from controlplane.simulate.call import Call, UnsupportedError
from controlplane.simulate.text_matching import in_ranges

OUTBOUND_CAPTURE = "virtualOutbound"
INBOUND_CAPTURE = "virtualInbound"
HTTP_PROXY_ROUTES = "http_proxy"
"""The name of the route configuration of a sidecar that is used as an HTTP proxy."""
_HTTP_INSPECTOR = "envoy.filters.listener.http_inspector"
_TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
_CHAIN_FIELDS = frozenset(
    {
        "destination_port",
        "prefix_ranges",
        "server_names",
        "transport_protocol",
        "application_protocols",
        "direct_source_prefix_ranges",
        "source_prefix_ranges",
        "source_ports",
    }
)


def outbound_listener(listeners: Iterable[Any], call: Call) -> Any:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the listener of exactly this address, else of the port on every address, else what captures all.

    ``None`` where nothing listens there.
    """
    wildcard: Any = None
    capture: Any = None
    for listener in listeners:
        if listener.name == INBOUND_CAPTURE:
            continue
        if listener.use_original_dst.value:
            capture = listener
        addresses = [address for address, port in _places(listener) if port == call.port]
        if any(_same(address, call.address) for address in addresses):
            return listener
        if any(_any_of_its_family(address, call.address) for address in addresses):
            wildcard = listener
    return wildcard or capture


def _places(listener: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401 - Envoy's messages carry no types
    for held in (listener.address, *(each.address for each in listener.additional_addresses)):
        where = held.socket_address
        if where.address:
            yield where.address, where.port_value


def _same(one: str, other: str) -> bool:
    return one == other or ip_address(one) == ip_address(other)


def _any_of_its_family(wildcard: str, address: str) -> bool:
    held = ip_address(wildcard)
    return int(held) == 0 and held.version == ip_address(address).version


def filter_chain(listener: Any, call: Call) -> Any:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the chain that takes a connection: criterion after criterion, the most specific match of each.

    What one criterion has ruled out is not looked at again. ``None``: the connection is closed.

    Raises:
        UnsupportedError: a chain asks for something that is not known here.
    """
    if listener.HasField("filter_chain_matcher"):
        raise UnsupportedError(f"the listener {listener.name} chooses by filter_chain_matcher")
    candidates = list(listener.filter_chains)
    for chain in candidates:
        unknown = {name.name for name, _ in chain.filter_chain_match.ListFields()} - _CHAIN_FIELDS
        if unknown:
            raise UnsupportedError(f"the listener {listener.name} chooses by {', '.join(sorted(unknown))}")

    def keep(rank: Callable[[Any], int]) -> None:
        """Keep the candidates of the highest rank; 0 asks for nothing, below that it does not match."""
        ranks = [rank(chain.filter_chain_match) for chain in candidates]
        best = max(ranks, default=-1)
        candidates[:] = [chain for chain, own in zip(candidates, ranks, strict=True) if own == best and best >= 0]

    sees_tls = call.tls and _inspects(listener, _TLS_INSPECTOR, call)
    server_name = call.server_name.lower() if sees_tls else ""
    transport = "tls" if sees_tls else "raw_buffer"
    offered = application_protocols(listener, call)
    keep(lambda match: _one_of([match.destination_port.value] if match.HasField("destination_port") else [], call.port))
    keep(lambda match: _range_rank(match.prefix_ranges, call.address))
    keep(lambda match: _name_rank(match.server_names, server_name))
    keep(lambda match: _one_of([match.transport_protocol] if match.transport_protocol else [], transport))
    keep(lambda match: _first_of(match.application_protocols, offered))
    keep(lambda match: _range_rank(match.direct_source_prefix_ranges, call.peer or call.source))
    keep(lambda match: _range_rank(match.source_prefix_ranges, call.source))
    if candidates:
        return candidates[0]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


def application_protocols(listener: Any, call: Call) -> tuple[str, ...]:  # noqa: ANN401 - Envoy's messages carry no types
    """Return what the listener's filters find out of the protocols inside a connection."""
    if call.tls:
        return call.alpn if _inspects(listener, _TLS_INSPECTOR, call) else ()
    return ("http/1.1",) if call.http and _inspects(listener, _HTTP_INSPECTOR, call) else ()


def _inspects(listener: Any, name: str, call: Call) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether a listener has this filter, turned on for the connection."""
    return any(
        each.name == name and not (each.HasField("filter_disabled") and _disabled(each.filter_disabled, call))
        for each in listener.listener_filters
    )


def _disabled(predicate: Any, call: Call) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    match predicate.WhichOneof("rule"):
        case "or_match":
            return any(_disabled(each, call) for each in predicate.or_match.rules)
        case "and_match":
            return all(_disabled(each, call) for each in predicate.and_match.rules)
        case "not_match":
            return not _disabled(predicate.not_match, call)
        case "any_match":
            return bool(predicate.any_match)
        case "destination_port_range":
            ports = predicate.destination_port_range
            return bool(ports.start <= call.port < ports.end)
    raise UnsupportedError("a predicate of a listener filter")


def _range_rank(ranges: Sequence[Any], address: str) -> int:
    return in_ranges(ranges, address) if ranges else 0


def _one_of(values: Sequence[Any], have: object) -> int:
    return 0 if not values else 1 if have in values else -1


def _first_of(values: Sequence[str], offered: Sequence[str]) -> int:
    """Return how early something offered is among these; what the client names first comes first."""
    if not values:
        return 0
    return max((len(offered) - at for at, each in enumerate(offered) if each in values), default=-1)


def _name_rank(names: Iterable[str], name: str) -> int:
    """Return how specific the best of these server names is: exact before the longest ``*.suffix``."""
    if not names:
        return 0
    ranks = [1000 + len(one) for one in names if one == name]
    ranks += [len(one) for one in names if one.startswith("*.") and name.endswith(one[1:])]
    return max(ranks, default=-1)


def shown(match: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return what a chain asks for as a person reads it; empty for every connection."""
    parts = [f"port {match.destination_port.value}"] if match.HasField("destination_port") else []
    parts += [f"to {one.address_prefix}/{one.prefix_len.value}" for one in match.prefix_ranges]
    parts += [f"for {name}" for name in match.server_names]
    parts += {"tls": ["TLS"], "raw_buffer": ["plaintext"]}.get(match.transport_protocol, [])
    parts += [", ".join(match.application_protocols)] if match.application_protocols else []
    return " ".join(parts)
