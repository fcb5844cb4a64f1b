"""Networks: which one an endpoint is in, and the gateways through which others reach it.

Without a gateway there is only one network, whatever endpoints and proxies say of theirs. A gateway is a Service with
the label ``topology.istio.io/network``, or is stated in the mesh's ``meshNetworks``.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import lcm
from typing import NamedTuple

from controlplane.apis.mesh_fields import read
from controlplane.apis.mesh_networks import MeshNetworks, Network, NetworkEndpoints
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.documents.words import is_ip, is_portable_ip
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.kubernetes import KubeService
from controlplane.model.objects import Labels, Object
from controlplane.registry.labels import NETWORK, selects
from controlplane.registry.mesh import MESH_KEY, SYSTEM_NAMESPACE
from controlplane.registry.resolved_names import resolved
from controlplane.registry.store import View

GATEWAY_PORT = "networking.istio.io/gatewayPort"
"""A label: the port of the gateway for mutual TLS, if it is not the default."""
NODE_SELECTOR = "traffic.istio.io/nodeSelector"
"""An annotation of a Service of type ``NodePort``: the labels, as JSON, of the nodes it is to be reached at."""
MUTUAL_TLS_PORT = 15443
TUNNEL_PORT = 15008


Range = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, str]
"""Addresses, and the network that they are in."""


@query
def mesh_networks(view: View, _key: tuple[()]) -> MeshNetworks:
    """Return what is stated of networks. Source: ConfigMap ``istio-system/istio``, key ``meshNetworks``."""
    obj = view.get(MESH_KEY)
    return read(MeshNetworks, obj.spec.data.get("meshNetworks", "") if obj is not None else "")


@dataclass(frozen=True, slots=True)
class Placing:
    """How the network of an address is found that has none of its own: ``cluster`` is that of the whole cluster.

    ``ranges`` are addresses with their network, the widest first; the first that has an address counts.
    """

    cluster: str = ""
    ranges: tuple[Range, ...] = ()

    def of(self, address: str) -> str:
        """Return the network of an address, empty for none."""
        if self.cluster or not self.ranges:
            return self.cluster
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return ""
        return next((name for within, name in self.ranges if found in within), "")


@query
def _placing(view: View, _key: tuple[()]) -> Placing:
    system = view.object(kinds.NAMESPACE, "", SYSTEM_NAMESPACE)
    labelled = system.meta.labels.get(NETWORK, "") if system is not None else ""
    stated = mesh_networks(view, ()).networks
    mine = (name for name in sorted(stated) if _has_cluster(view, stated[name].endpoints))
    return Placing(labelled or next(mine, ""), tuple(sorted(_ranges(stated), key=_by_width)))


def _has_cluster(view: View, endpoints: Iterable[NetworkEndpoints]) -> bool:
    return any(each.from_registry == view.cluster_id for each in endpoints)


def _ranges(networks: Mapping[str, Network]) -> Iterator[Range]:
    for name, network in networks.items():
        for each in network.endpoints:
            if each.from_cidr:
                yield ipaddress.ip_network(each.from_cidr, strict=False), name


def _by_width(pair: Range) -> tuple[int, str, str]:
    within, name = pair
    return (within.prefixlen, str(within), name)


def network_of(view: View, labels: Labels, address: str) -> str:
    """Return the network of a workload: as its label says, else that of the cluster or of its address; or empty."""
    return labels.get(NETWORK) or _placing(view, ()).of(address)


class NetworkGateway(NamedTuple):
    """One address that leads into a network.

    ``address`` is an IP, or a host name that the control plane cannot resolve. ``port`` takes mutual TLS between
    proxies; 0 where none does. ``cluster`` is the Kubernetes cluster of the gateway's Service, else empty.
    """

    address: str
    port: int
    network: str
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class NetworkGateways:
    """The gateways of all networks. ``scale`` is divisible by how many gateways any of them shares its weight among."""

    by_network: Mapping[str, tuple[NetworkGateway, ...]] = field(default_factory=dict)
    scale: int = 1

    @classmethod
    def of(cls, gateways: Iterable[NetworkGateway]) -> NetworkGateways:
        """Return gateways by network, each once, by address."""
        by_network: defaultdict[str, list[NetworkGateway]] = defaultdict(list)
        shared: defaultdict[tuple[str, str], int] = defaultdict(int)
        for gateway in sorted(set(gateways)):
            by_network[gateway.network].append(gateway)
            shared[gateway.network, gateway.cluster] += 1
        scale = lcm(*shared.values(), *map(len, by_network.values()))
        return cls({name: tuple(held) for name, held in by_network.items()}, scale)

    def __bool__(self) -> bool:
        """Whether there are several networks at all."""
        return bool(self.by_network)

    def leading_to(self, network: str, cluster: str) -> tuple[NetworkGateway, ...]:
        """Return the gateways for endpoints of a network and Kubernetes cluster: those of the cluster, else all."""
        held = self.by_network.get(network, ())
        return tuple(gateway for gateway in held if gateway.cluster == cluster) or held


@query
def stated_gateways(view: View, _key: tuple[()]) -> NetworkGateways:
    """Return the gateways by the addresses and names that they are stated with."""
    return NetworkGateways.of(_gateways(view))


@query
def network_gateways(view: View, _key: tuple[()]) -> NetworkGateways:
    """Return the gateways by their IP addresses, without those that are ``unusable``.

    One whose name nobody has resolved yet is left out.
    """
    stated = stated_gateways(view, ())
    every = [gateway for held in stated.by_network.values() for gateway in held]
    return NetworkGateways.of(
        gateway._replace(address=address)
        for gateway in every
        for address in resolved(view, gateway.address)
        if not unusable(address)
    )


def unusable(address: str) -> str:
    """Say in a word why no proxy is sent to an IP address as to a gateway; empty where it is.

    Whoever may write a Service's status, or answers for a name, would lead all proxies to themselves or to the
    machine's metadata with it. istiod and Envoy take each of them, but for zones that the machine does not have.
    """
    found = ipaddress.ip_address(address)
    found = (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
    words = {
        "unspecified": found.is_unspecified,
        "loopback": found.is_loopback,
        "multicast": found.is_multicast,
        "link-local": found.is_link_local,
        "reserved": found.version == 4 and found.is_reserved,  # noqa: PLR2004 - those of IPv6 hold translated ones
        "zoned": not is_portable_ip(address),
    }
    return next((word for word, holds in words.items() if holds), "")


@query
def unusable_gateways(view: View, _key: tuple[()]) -> Mapping[str, str]:
    """Return the gateways whose stated address is ``unusable``, and the word for it."""
    held = stated_gateways(view, ()).by_network.values()
    addresses = sorted({each.address for gateways in held for each in gateways if is_ip(each.address)})
    return {address: word for address in addresses if (word := unusable(address))}


@query
def several_networks(view: View, _key: tuple[()]) -> bool:
    """Whether endpoints may be behind gateways: then it matters which network a client is in."""
    return bool(stated_gateways(view, ()))


@query
def gateway_names(view: View, _key: tuple[()]) -> frozenset[str]:
    """Return the host names of gateways: what somebody has to resolve."""
    held = stated_gateways(view, ()).by_network.values()
    return frozenset(each.address for gateways in held for each in gateways if not is_ip(each.address))


def _gateways(view: View) -> Iterator[NetworkGateway]:
    for key in view.index("network_gateways", ()):
        obj = view.get(key)
        if obj is not None and isinstance(obj.spec, KubeService):
            port = _labelled_port(obj)
            if port is not None:
                yield from _of_service(view, obj, obj.meta.labels[NETWORK], port)
    for name, network in mesh_networks(view, ()).networks.items():
        for gateway in network.gateways:
            if gateway.address:
                yield NetworkGateway(gateway.address, gateway.port, name)
            elif gateway.registry_service_name and _has_cluster(view, network.endpoints):
                obj = _service_named(view, gateway.registry_service_name)
                if obj is not None and NETWORK not in obj.meta.labels:  # else its label counts
                    yield from _of_service(view, obj, name, gateway.port)


def _service_named(view: View, hostname: str) -> Object | None:
    """Return the Kubernetes Service of a full host name, or ``None``."""
    suffix = f".svc.{view.domain}"
    name, _, namespace = hostname.removesuffix(suffix).partition(".")
    if not hostname.endswith(suffix) or not namespace:
        return None
    return view.object(kinds.SERVICE, namespace, name)


def _labelled_port(obj: Object) -> int | None:
    """Return the port for mutual TLS of a Service that is labelled as a gateway; ``None`` where it is none."""
    stated = obj.meta.labels.get(GATEWAY_PORT, "")
    port = int(stated) if stated.isdecimal() else MUTUAL_TLS_PORT
    numbers = {each.number for each in obj.spec.ports}
    if port in numbers:
        return port
    return 0 if TUNNEL_PORT in numbers else None


def _of_service(view: View, obj: Object, network: str, port: int) -> Iterator[NetworkGateway]:
    spec: KubeService = obj.spec
    nodes = obj.meta.annotations.get(NODE_SELECTOR, "") if spec.type == "NodePort" else ""
    if nodes:
        port = next((each.node_port or port for each in spec.ports if each.number == port), port)
    for address in (*spec.load_balancer_ips, *(_nodes(view, nodes) if nodes else ()), *spec.external_ips):
        yield NetworkGateway(address, port, network, view.cluster_id)


def _nodes(view: View, selector: str) -> Iterator[str]:
    """Yield the addresses at which nodes with these labels are reached from elsewhere."""
    try:
        wanted = json_value(selector)
    except UnreadableError:
        return
    if not isinstance(wanted, dict) or not all(isinstance(value, str) for value in wanted.values()):
        return
    for key in view.keys(kinds.NODE):
        node = view.get(key)
        if node is not None and selects(wanted, node.meta.labels):
            yield from node.spec.external_ips


__all__ = [
    "GATEWAY_PORT",
    "NetworkGateway",
    "NetworkGateways",
    "gateway_names",
    "mesh_networks",
    "network_gateways",
    "network_of",
    "several_networks",
    "stated_gateways",
    "unusable",
    "unusable_gateways",
]
