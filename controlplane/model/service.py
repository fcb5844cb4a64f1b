"""Destinations and their endpoints: the one model that Kubernetes Services and ServiceEntries become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import NamedTuple

from controlplane.model.objects import Labels, ObjectKey
from controlplane.model.proxy import Locality


class Protocol(Enum):
    """Application protocol of a port; ``AUTO`` is detected per connection by the proxy."""

    HTTP = "HTTP"
    HTTP_PROXY = "HTTP_PROXY"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    MONGO = "Mongo"
    REDIS = "Redis"
    MYSQL = "MySQL"
    UDP = "UDP"
    AUTO = "UnsupportedProtocol"

    __hash__ = object.__hash__

    @property
    def is_http(self) -> bool:
        """Whether the port is declared to speak some HTTP."""
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        """Whether the port is declared to speak HTTP/2."""
        return self in {Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB}

    @property
    def is_tls(self) -> bool:
        """Whether the application itself speaks TLS on the port."""
        return self in {Protocol.HTTPS, Protocol.TLS}

    @property
    def is_tcp(self) -> bool:
        """Whether the port is handled as opaque bytes."""
        return not self.is_http and self not in {Protocol.AUTO, Protocol.UDP}

    @property
    def routes_http(self) -> bool:
        """Whether HTTP routes apply: declared HTTP, or detected."""
        return self.is_http or self is Protocol.AUTO

    @classmethod
    def parse(cls, text: str) -> Protocol:
        """Read the protocol of a ServiceEntry, Gateway or Sidecar port; unknown text is ``AUTO``."""
        return _BY_NAME.get(text.lower(), cls.AUTO)


_HTTP = frozenset({Protocol.HTTP, Protocol.HTTP_PROXY, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_BY_NAME = {p.value.lower(): p for p in Protocol if p is not Protocol.AUTO}


class Resolution(Enum):
    """How a proxy finds the endpoints of a service."""

    CLIENT_SIDE = "ClientSideLB"
    DNS = "DNSLB"
    DNS_ROUND_ROBIN = "DNSRoundRobinLB"
    DYNAMIC_DNS = "DynamicDNS"
    PASSTHROUGH = "Passthrough"
    ALIAS = "Alias"

    __hash__ = object.__hash__

    @property
    def is_dns(self) -> bool:
        """Whether the proxy resolves names itself."""
        return self in {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}


class Health(IntEnum):
    """Health as the source of an endpoint says it; values are ``envoy.config.core.v3.HealthStatus``."""

    UNKNOWN = 0
    HEALTHY = 1
    UNHEALTHY = 2
    DRAINING = 3
    TERMINATING = 100


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a service. ``target_port`` is a number, a container port's name, or 0 for ``number``."""

    number: int
    name: str
    protocol: Protocol
    target_port: int | str = 0


class ServiceKey(NamedTuple):
    """Identity of a service: the object that states it and the host name (a ServiceEntry states one per host)."""

    hostname: str
    object: ObjectKey

    @property
    def namespace(self) -> str:
        """Namespace of the object."""
        return self.object.namespace


@dataclass(frozen=True, slots=True)
class Service:
    """One destination by host name.

    ``name`` is the Kubernetes name, or the host of a ServiceEntry. ``addresses`` are virtual IPs or CIDRs; empty
    where there are none. ``auto_addresses`` are allocated ones, used only by proxies that capture DNS.
    ``export_to`` holds ``*``, namespaces, or ``~``, with ``.`` resolved. ``selector`` is ``None`` where no
    workload is selected. ``accounts`` are extra SPIFFE ids. ``age_order`` settles conflicts: the smaller wins.
    ``external_name`` is the alias target of an ExternalName service. ``traffic_distribution`` is ``""``, ``zone`` or
    ``node``.
    """

    key: ServiceKey
    name: str
    kubernetes: bool
    ports: tuple[ServicePort, ...]
    resolution: Resolution
    age_order: tuple[str, str, str]
    mesh_external: bool = False
    addresses: tuple[str, ...] = ()
    auto_addresses: tuple[str, ...] = ()
    export_to: frozenset[str] = frozenset("*")
    selector: Labels | None = None
    accounts: tuple[str, ...] = ()
    external_name: str = ""
    labels: Labels = field(default_factory=dict)
    node_local: bool = False
    traffic_distribution: str = ""
    publish_not_ready: bool = False
    race_first_connect: bool = False
    _numbered: Mapping[int, ServicePort] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbered = {port.number: port for port in reversed(self.ports) if port.protocol is not Protocol.UDP}
        object.__setattr__(self, "_numbered", numbered)

    def __hash__(self) -> int:
        """Hash by identity of the definition; equality still compares every field."""
        return hash(self.key)

    @property
    def hostname(self) -> str:
        """The fully qualified host name."""
        return self.key.hostname

    @property
    def namespace(self) -> str:
        """The namespace of the object that states the service."""
        return self.key.object.namespace

    @property
    def headless(self) -> bool:
        """Whether it is a Kubernetes service without a virtual IP."""
        return self.kubernetes and self.resolution is Resolution.PASSTHROUGH

    def handles(self, port: ServicePort) -> bool:
        """Whether proxies make anything of a port of this service.

        They carry no UDP, and only a request tells them a host to resolve, TLS hosts behind it do not.
        """
        if self.resolution is Resolution.DYNAMIC_DNS:
            return port.protocol.is_http
        return port.protocol is not Protocol.UDP

    def port(self, number: int) -> ServicePort | None:
        """Return the port with this number, or ``None``; one for UDP may have the same number and does not count."""
        return self._numbered.get(number)


_NO_LABELS: Labels = MappingProxyType({})
_NOWHERE = Locality()


class Endpoint(NamedTuple):
    """One address that serves one service port, as the registry knows it: a tuple, for there are very many.

    ``address`` is an IP literal, a host name (DNS services) or a socket path with ``port`` 0. ``port_name`` and
    ``service_port`` say which service port it serves (Kubernetes endpoints match by name; ``service_port`` is 0
    there). ``labels`` include the topology labels. ``weight`` is relative, at least 1. ``tls_mode`` is ``istio``
    where the endpoint has a proxy that accepts mutual TLS. ``account`` is its SPIFFE id or empty. ``pod_ips`` are all
    addresses of its pod where it has several.
    """

    address: str
    port: int
    port_name: str
    service_port: int = 0
    labels: Labels = _NO_LABELS
    locality: Locality = _NOWHERE
    health: Health = Health.HEALTHY
    weight: int = 1
    tls_mode: str = "disabled"
    account: str = ""
    network: str = ""
    node: str = ""
    namespace: str = ""
    workload: str = ""
    hostname: str = ""
    subdomain: str = ""
    pod_ips: tuple[str, ...] = ()

    def serves(self, port: ServicePort) -> bool:
        """Whether this endpoint belongs to the service port: by number, from Kubernetes by name."""
        return self.service_port == port.number if self.service_port else self.port_name == port.name
