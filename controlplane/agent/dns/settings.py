"""The name server of one proxy, as its variables and the pod's resolver say."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.dns.forward import RESOLVER, Forwarder, Resolver, upstreams
from controlplane.agent.dns.server import NameServer, Place
from controlplane.agent.environment import StartError
from controlplane.agent.envoy_user import is_only_name_server
from controlplane.agent.options import Options

DEFAULT = "localhost:15053"
TYPE_URL = "type.googleapis.com/istio.networking.nds.v1.NameTable"
KEPT_RESOLVER = Path("/var/lib/istio/resolv.conf")
"""Where a host keeps what its resolver's file said before it was led to the agent."""
_DNS_PORT = 53


def name_server(
    options: Options, resolver_file: Path = RESOLVER, kept_file: Path = KEPT_RESOLVER
) -> tuple[NameServer, tuple[TcpAddress, ...]]:
    """Return the server and where it is to listen. Raises ``StartError``.

    On port 53 it is the host's only name server: ``resolver_file`` may name itself, so ``kept_file`` counts if there is
    one, and whoever asks before the first table is passed on.
    """
    environment = options.environment
    text = environment.text("DNS_PROXY_ADDR", DEFAULT)
    only = is_only_name_server(options)
    resolver = Resolver.read(kept_file if only and kept_file.exists() else resolver_file)
    timeout = environment.duration("DNS_FORWARD_TIMEOUT", timedelta(seconds=5))
    forwarder = Forwarder(upstreams(resolver), timeout, at_once=environment.flag("DNS_FORWARD_PARALLEL"))
    workload = options.workload
    place = Place(workload.namespace, workload.domain, resolver.search)
    return NameServer(forwarder, place, early=only), listening(text, resolver)


def listening(text: str, resolver: Resolver) -> tuple[TcpAddress, ...]:
    """Return the addresses to listen on: ``localhost`` is that of each family that the pod's name servers have.

    Port 53 is for root only; for others the default stands for it. Raises ``StartError``.
    """
    try:
        where = TcpAddress.parse(text)
    except ValueError as error:
        raise StartError(f"DNS_PROXY_ADDR: {error}") from None
    if where.port == _DNS_PORT and os.geteuid():
        where = TcpAddress.parse(DEFAULT)
    if where.host != "localhost":
        return (where,)
    hosts = [
        host
        for host, v6 in (("127.0.0.1", False), ("::1", True))
        if any((":" in each) is v6 for each in resolver.servers)
    ]
    return tuple(TcpAddress(host, where.port) for host in hosts or ["127.0.0.1"])
