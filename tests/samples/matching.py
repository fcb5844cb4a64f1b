"""How Envoy chooses a filter chain for a connection, and a virtual host and a route for a request.

After its rules for ``FilterChainMatch``, ``VirtualHost.domains`` and ``RouteMatch``, for as much of them as the samples
use; a matcher that is not known here is an error, never a silent answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

_MATCH_FIELDS = {
    "prefix",
    "path",
    "safe_regex",
    "path_separated_prefix",
    "case_sensitive",
    "headers",
    "query_parameters",
}
_CHAIN_FIELDS = {"destination_port", "prefix_ranges", "server_names", "transport_protocol", "application_protocols"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request or connection as it leaves the application, or arrives at a gateway.

    ``protocol`` is ``http``, ``tcp`` or ``tls``; ``host`` is the ``Host`` header, or the TLS server name.
    """

    protocol: str
    address: str
    port: int
    host: str = ""
    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)


def filter_chain(listener: Any, call: Call) -> Any:
    """Return the chain that takes a connection: criterion after criterion, the most specific match of each."""
    offered = ("http/1.1",) if call.protocol == "http" else ()
    transport = "tls" if call.protocol == "tls" else "raw_buffer"
    candidates = list(listener.filter_chains)
    for chain in candidates:
        unknown = {name.name for name, _ in chain.filter_chain_match.ListFields()} - _CHAIN_FIELDS
        assert not unknown, f"filter_chain_match: {unknown}"

    def keep(rank: Callable[[Any], int]) -> None:
        """Keep the candidates of the highest rank; 0 asks for nothing, below that it does not match."""
        ranks = [rank(chain.filter_chain_match) for chain in candidates]
        best = max(ranks, default=-1)
        candidates[:] = [chain for chain, own in zip(candidates, ranks, strict=True) if own == best and best >= 0]

    def wanted(values: Iterable[Any], have: Iterable[Any]) -> int:
        return 0 if not values else 1 if set(values) & set(have) else -1

    keep(
        lambda match: wanted([match.destination_port.value] if match.HasField("destination_port") else [], [call.port])
    )
    keep(lambda match: _prefix_rank(match.prefix_ranges, call.address))
    keep(lambda match: _name_rank(match.server_names, call.host.lower() if call.protocol == "tls" else ""))
    keep(lambda match: wanted([match.transport_protocol] if match.transport_protocol else [], [transport]))
    keep(lambda match: wanted(match.application_protocols, offered))
    if candidates:
        return candidates[0]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


def _prefix_rank(ranges: Iterable[Any], address: str) -> int:
    """Return the length of the longest range around an address, plus one."""
    if not ranges:
        return 0
    networks = [ip_network((one.address_prefix, one.prefix_len.value), strict=False) for one in ranges]
    return max((network.prefixlen + 1 for network in networks if ip_address(address) in network), default=-1)


def _name_rank(names: Iterable[str], name: str) -> int:
    """Return how specific the best of these server names is: exact before the longest ``*.suffix``."""
    if not names:
        return 0
    ranks = [1000 + len(one) for one in names if one == name]
    ranks += [len(one) for one in names if one.startswith("*.") and name.endswith(one[1:])]
    return max(ranks, default=-1)


def virtual_host(routes: Any, authority: str) -> Any:
    """Return the virtual host of an authority: exact domain, longest ``*suffix``, longest ``prefix*``, then ``*``."""
    name = authority.lower()
    if routes.ignore_port_in_host_matching:
        name = re.sub(r":\d+$", "", name)
    best: tuple[int, int] = (0, 0)
    found = None
    for host in routes.virtual_hosts:
        for domain in host.domains:
            rank = _domain_rank(domain.lower(), name)
            if rank > best:
                best, found = rank, host
    return found


def _domain_rank(domain: str, name: str) -> tuple[int, int]:
    if domain == name:
        return 4, 0
    if domain == "*":
        return 1, 0
    if domain.startswith("*") and name.endswith(domain[1:]):
        return 3, len(domain)
    if domain.endswith("*") and name.startswith(domain[:-1]):
        return 2, len(domain)
    return 0, 0


def matches(match: Any, call: Call) -> bool:
    """Whether a route takes a request."""
    unknown = {name.name for name, _ in match.ListFields()} - _MATCH_FIELDS
    assert not unknown, f"route match: {unknown}"
    path, _, query = call.path.partition("?")
    headers = {":method": call.method, ":authority": call.host, ":path": call.path}
    headers |= {name.lower(): value for name, value in call.headers.items()}
    parameters = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return (
        _path_matches(match, path)
        and all(_header_matches(header, headers.get(header.name.lower())) for header in match.headers)
        and all(_text_matches(one.string_match, parameters.get(one.name)) for one in match.query_parameters)
    )


def _path_matches(match: Any, path: str) -> bool:
    kind = match.WhichOneof("path_specifier")
    if kind == "safe_regex":
        return re.fullmatch(match.safe_regex.regex, path) is not None
    wanted = str(getattr(match, kind))
    if match.HasField("case_sensitive") and not match.case_sensitive.value:
        wanted, path = wanted.lower(), path.lower()
    if kind == "path":
        return path == wanted
    if kind == "prefix":
        return path.startswith(wanted)
    return path == wanted or path.startswith(wanted + "/")


def _header_matches(header: Any, value: str | None) -> bool:
    kind = header.WhichOneof("header_match_specifier")
    if kind in {"present_match", None}:
        found = value is not None
    else:
        assert kind == "string_match", f"header matcher: {kind}"
        found = _text_matches(header.string_match, value)
    return bool(found != header.invert_match)


def _text_matches(matcher: Any, value: str | None) -> bool:
    if value is None:
        return False
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return re.fullmatch(matcher.safe_regex.regex, value) is not None
    wanted = str(getattr(matcher, kind))
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    compare: dict[str, Callable[[str], bool]] = {
        "exact": value.__eq__,
        "prefix": value.startswith,
        "suffix": value.endswith,
        "contains": value.__contains__,
    }
    return compare[kind](wanted)
