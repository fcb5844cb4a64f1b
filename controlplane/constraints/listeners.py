"""What Envoy checks of a listener and of what its filter chains match, as (path from the message down, reason)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from controlplane.constraints.addresses import address_faults

Wrong = Iterator[tuple[str, str]]


def listener_faults(listener: Any) -> Wrong:  # noqa: ANN401
    """Check an envoy.config.listener.v3.Listener, and that no two of its filter chains are for the same connections."""
    yield from address_faults("address", listener.address)
    if listener.HasField("internal_listener") and listener.HasField("address"):
        yield "internal_listener", "has no address"
    if listener.transparent.value and listener.HasField("bind_to_port") and not listener.bind_to_port.value:
        yield "transparent", "may not be set of a listener that is bound to no port: Envoy crashes"
    if not (
        listener.filter_chains
        or listener.HasField("default_filter_chain")
        or listener.HasField("filter_chain_matcher")
        or listener.HasField("udp_listener_config")
    ):
        yield "filter_chains", "none is left"
    yield from _equal_matches(listener.filter_chains)
    if listener.HasField("fcds_config") and not listener.HasField("filter_chain_matcher"):
        yield "fcds_config", "needs a filter_chain_matcher"
    for index, each in enumerate(listener.additional_addresses):
        if each.address.WhichOneof("address") is None:
            yield f"additional_addresses[{index}].address", "is required: Envoy crashes without it"
        yield from address_faults(f"additional_addresses[{index}].address", each.address)


def chain_match_faults(match: Any) -> Wrong:  # noqa: ANN401
    """Check an envoy.config.listener.v3.FilterChainMatch."""
    for index, name in enumerate(match.server_names):
        if "*" in name and (not name.startswith("*.") or "*" in name[1:]):
            yield f"server_names[{index}]", f"{name!r}: a server name is matched whole, or by its first parts (*.a.b)"
    for name in ("address_suffix", "suffix_len"):
        if match.HasField(name) if name == "suffix_len" else getattr(match, name):
            yield name, "is a field that Envoy does not know yet"


def _equal_matches(chains: Iterable[Any]) -> Wrong:
    """Find chains for connections that an earlier one is for, by every single combination of what they name.

    One that names a thing twice is refused too: Envoy adds each combination and finds the second one taken.
    """
    taken: dict[tuple[Any, ...], int] = {}
    for index, chain in enumerate(chains):
        match = chain.filter_chain_match
        stated = list(
            product(
                (match.destination_port.value,),
                _ranges(match.prefix_ranges),
                [name.lower() for name in match.server_names] or ("",),
                (match.transport_protocol,),
                tuple(match.application_protocols) or ("",),
                _ranges(match.direct_source_prefix_ranges),
                (match.source_type,),
                _ranges(match.source_prefix_ranges),
                tuple(match.source_ports) or (0,),
            )
        )
        wanted = set(stated)
        earlier = next((taken[each] for each in wanted if each in taken), None)
        if len(wanted) < len(stated):
            yield f"filter_chains[{index}]", "names something to match twice"
        elif earlier is not None:
            yield f"filter_chains[{index}]", f"is for connections that filter chain {earlier} is for"
        else:
            taken |= dict.fromkeys(wanted, index)


def _ranges(stated: Sequence[Any]) -> tuple[str, ...]:
    return tuple(_masked(each.address_prefix, each.prefix_len.value) for each in stated) or ("",)


def _masked(address: str, length: int) -> str:
    try:
        return str(ipaddress.ip_network((address, length), strict=False))
    except ValueError:  # a longer prefix than the address has, or none at all
        return f"{address}/{length}"
