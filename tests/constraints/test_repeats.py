"""A chain that names a thing twice: the net at the output says what a real Envoy says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from envoy.config.listener.v3.listener_components_pb2 import FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.constraints.checker import faults
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.listeners.chains import cidr_range
from controlplane.translate.listeners.extensions import network_filter
from tests.envoy.judge import refused

REPEATS: dict[str, Callable[[FilterChainMatch], None]] = {
    "range": lambda match: match.prefix_ranges.extend([cidr_range("10.0.0.1"), cidr_range("10.0.0.1")]),
    "host bits": lambda match: match.prefix_ranges.extend([cidr_range("10.0.0.1/8"), cidr_range("10.2.0.1/8")]),
    "name": lambda match: match.server_names.extend(["a.b", "A.b"]),
    "protocol": lambda match: match.application_protocols.extend(["h2", "h2"]),
    "port": lambda match: match.source_ports.extend([1, 1]),
}


def listener(number: int, build: Callable[[FilterChainMatch], None]) -> Listener:
    made = Listener(name=f"l{number}")
    made.address.socket_address.address = "127.0.0.1"
    made.address.socket_address.port_value = 1000 + number
    chain = made.filter_chains.add()
    build(chain.filter_chain_match)
    chain.filters.append(network_filter("envoy.filters.network.tcp_proxy", TcpProxy(stat_prefix="x", cluster="c")))
    return made


@pytest.mark.parametrize("name", REPEATS)
def test_what_repeats_is_found(name: str) -> None:
    assert list(faults(listener(1, REPEATS[name]))) != []


def test_a_real_envoy_refuses_each_of_them() -> None:
    made = [listener(number, build) for number, build in enumerate(REPEATS.values())]
    made.append(listener(len(made), lambda match: match.server_names.append("a.b")))
    resources = [Resource.of(ResourceType.LISTENER, each.name, each.SerializeToString()) for each in made]
    assert sorted(refused(resources)) == list(range(len(REPEATS)))
