"""The name server of one proxy, as its variables and the pod's resolver say."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.dns.forward import RESOLVER, Forwarder, Resolver, upstreams
from controlplane.agent.dns.server import NameServer
from controlplane.agent.environment import StartError
from controlplane.agent.options import Options

DEFAULT = "localhost:15053"
TYPE_URL = "type.googleapis.com/istio.networking.nds.v1.NameTable"
_DNS_PORT = 53


def name_server(options: Options, resolver_file: Path = RESOLVER) -> tuple[NameServer, tuple[TcpAddress, ...]]:
    """Return the server and where it is to listen. Raises ``StartError``."""
    environment = options.environment
    resolver = Resolver.read(resolver_file)
    timeout = environment.duration("DNS_FORWARD_TIMEOUT", timedelta(seconds=5))
    forwarder = Forwarder(upstreams(resolver), timeout, at_once=environment.flag("DNS_FORWARD_PARALLEL"))
    workload = options.workload
    server = NameServer(forwarder, namespace=workload.namespace, domain=workload.domain, search=resolver.search)
    return server, listening(environment.text("DNS_PROXY_ADDR", DEFAULT), resolver)


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
