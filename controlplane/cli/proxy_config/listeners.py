"""The table of listeners: one row for each filter chain."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.cli.proxy_config.dump import Json
from controlplane.cli.proxy_config.routes import match_text

HEADER = ("ADDRESSES", "PORT", "MATCH", "DESTINATION")
SHORT_HEADER = ("ADDRESSES", "PORT", "TYPE")

_HTTP = "http_connection_manager.v3.HttpConnectionManager"
_TCP = "tcp_proxy.v3.TcpProxy"
_BLACKHOLE = "BlackHoleCluster"

_PLAIN = ["http/1.0", "http/1.1", "h2c"]
_ISTIO = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]
_PROTOCOLS = {
    tuple(_PLAIN): "HTTP",
    ("istio", *_ISTIO): "Istio HTTP Plain",
    (*_PLAIN, *_ISTIO): "HTTP TLS",
    ("istio-peer-exchange", "istio"): "TCP TLS",
}


@dataclass(frozen=True)
class ListenerFilter:
    """Which listeners are shown, all exact; empty or 0 lets all pass. ``type`` is as ``listener_type`` says it."""

    address: str = ""
    port: int = 0
    type: str = ""

    def passes(self, listener: Json) -> bool:
        """Whether a listener is shown."""
        return (
            (not self.address or self.address.lower() in (each.lower() for each in addresses(listener)))
            and self.port in {0, port(listener)}
            and (not self.type or self.type.upper() == listener_type(listener))
        )


def selected_listeners(listeners: Iterable[Json], wanted: ListenerFilter) -> list[Json]:
    """Return the listeners that pass, by port, address and type."""
    return sorted(
        (listener for listener in listeners if wanted.passes(listener)),
        key=lambda listener: (port(listener), ",".join(addresses(listener)), listener_type(listener)),
    )


def listener_rows(listener: Json) -> list[list[str]]:
    """Return the cells of every filter chain, the default one too, by destination from last to first."""
    where = [",".join(addresses(listener)), str(port(listener))]
    rows = [[*where, chain_match(chain), destination(chain)] for chain in _chains(listener)]
    return sorted(rows, key=lambda row: row[3], reverse=True)


def short_row(listener: Json) -> list[str]:
    """Return the cells of the table with types."""
    return [",".join(addresses(listener)), str(port(listener)), listener_type(listener)]


def addresses(listener: Json) -> list[str]:
    """Return the main and the additional addresses, the path of a pipe; none for an internal listener."""
    every = [
        listener.get("address", {}),
        *(each.get("address", {}) for each in listener.get("additional_addresses", ())),
    ]
    found = (each.get("socket_address", {}).get("address") or each.get("pipe", {}).get("path") for each in every)
    return [each for each in found if each]


def port(listener: Json) -> int:
    """Return the port, 0 for a pipe or an internal listener."""
    return int(listener.get("address", {}).get("socket_address", {}).get("port_value", 0))


def listener_type(listener: Json) -> str:
    """Return ``HTTP``, ``TCP``, ``HTTP+TCP`` or ``UNKNOWN``, by what the filter chains end in."""
    http = tcp = False
    for chain in _chains(listener):
        for each in chain.get("filters", ()):
            http = http or _is(each, _HTTP)
            tcp = tcp or (_is(each, _TCP) and _BLACKHOLE not in json.dumps(each))
    if http:
        return "HTTP+TCP" if tcp else "HTTP"
    return "TCP" if tcp else "UNKNOWN"


def _chains(listener: Json) -> list[Json]:
    default = listener.get("default_filter_chain")
    return [*listener.get("filter_chains", ()), *([default] if default else [])]


def _is(network_filter: Json, kind: str) -> bool:
    return str(network_filter.get("typed_config", {}).get("@type", "")).endswith(kind)


def chain_match(chain: Json) -> str:
    """Describe which connections a filter chain takes; ``ALL`` without conditions."""
    match = chain.get("filter_chain_match") or {}
    parts = []
    if names := match.get("server_names"):
        parts.append(f"SNI: {','.join(names)}")
    if transport := match.get("transport_protocol"):
        parts.append(f"Trans: {transport}")
    if protocols := match.get("application_protocols"):
        parts.append(f"App: {_PROTOCOLS.get(tuple(protocols)) or ','.join(protocols)}")
    to_port = f":{match['destination_port']}" if match.get("destination_port") else ""
    if ranges := match.get("prefix_ranges"):
        prefixes = (f"{each.get('address_prefix', '')}/{each.get('prefix_len', 0)}" for each in ranges)
        parts.append(f"Addr: {','.join(prefixes)}{to_port}")
    elif to_port:
        parts.append(f"Addr: *{to_port}")
    return "; ".join(parts) or "ALL"


def destination(chain: Json) -> str:
    """Describe where a filter chain sends connections, by its first filter that says so."""
    for each in chain.get("filters", ()):
        config = each.get("typed_config", {})
        if _is(each, _HTTP):
            if "route_config" in config:
                return _inline_route(config["route_config"])
            if "rds" in config:
                return f"Route: {config['rds'].get('route_config_name', '')}"
            return "HTTP"
        if _is(each, _TCP) and _BLACKHOLE not in json.dumps(each):
            weighted = config.get("weighted_clusters", {}).get("clusters", ())
            return _cluster(config.get("cluster") or ",".join(part.get("name", "") for part in weighted))
    return "Non-HTTP/Non-TCP"


def _cluster(name: str) -> str:
    """Name a cluster; Istio's own (``PassthroughCluster``, ...) say themselves what they are."""
    return name if "Cluster" in name else f"Cluster: {name}"


def _inline_route(route_configuration: Json) -> str:
    hosts = route_configuration.get("virtual_hosts", ())
    routes = [route for host in hosts for route in host.get("routes", ())]
    if len(hosts) == 1 and len(routes) == 1 and routes[0].get("match", {}).get("prefix") == "/":
        cluster = routes[0].get("route", {}).get("cluster")
        if cluster:
            return _cluster(cluster)
    return f"Inline Route: {'; '.join(_inline_host(host) for host in hosts)}"


def _inline_host(host: Json) -> str:
    domains = "" if host.get("domains") == ["*"] else "/".join(host.get("domains", ()))
    matches = ", ".join(match_text(route) for route in host.get("routes", ()))
    return f"{domains} {matches}".strip()
