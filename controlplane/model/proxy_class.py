"""Proxy classes: everything that can change a proxy's bytes, and nothing else.

A proxy is reduced to a ``ProxyClass`` when it connects and whenever a fact this was derived from changes. The
outbound half (``ClientScope``) and the inbound half (``InboundScope``) are separate, so a thousand pods of fifty
namespaces share fifty outbound halves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from operator import attrgetter
from typing import Any

from controlplane.model.objects import ObjectKey
from controlplane.model.proxy import Locality
from controlplane.model.service import ServiceKey

LabelPairs = frozenset[tuple[str, str]]


@cache
def _content(kind: Any) -> attrgetter[Any]:  # noqa: ANN401 - a dataclass
    """Return what reads all fields of a dataclass."""
    return attrgetter(*(field.name for field in fields(kind)))


class _HashedOnce:
    """Remembers the hash of a frozen value that is a dictionary key many times over."""

    __slots__ = ("_hash",)
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            kind: Any = type(self)
            object.__setattr__(self, "_hash", hash(_content(kind)(self)))
            return self._hash


@dataclass(frozen=True, slots=True)
class ClientScope(_HashedOnce):
    """Who is calling: what outbound clusters, endpoints, listeners and routes may depend on.

    ``istio`` is true for an istio-proxy (node metadata ``ISTIO_VERSION``), false for a stock Envoy. ``sidecar`` is
    the Sidecar resource in force. ``labels`` holds only the pairs that some selector or source match tells apart,
    ``node`` and ``own_ips`` only where some service makes a difference by them. ``domain`` is the proxy's DNS domain.
    ``interception`` is ``REDIRECT``, ``TPROXY`` or ``NONE``. ``http_proxy_port`` 0 means no HTTP proxy listener.
    ``settings`` is what the proxy's own ProxyConfig changes (see ``registry.proxy_settings``), empty for nothing.
    """

    namespace: str
    router: bool = False
    istio: bool = False
    sidecar: ObjectKey | None = None
    domain: str = ""
    ipv4: bool = True
    ipv6: bool = False
    cluster_id: str = "Kubernetes"
    network: str = ""
    locality: Locality = field(default_factory=Locality)
    labels: LabelPairs = frozenset()
    node: str = ""
    own_ips: frozenset[str] = frozenset()
    interception: str = "REDIRECT"
    dns_capture: bool = False
    http_proxy_port: int = 0
    idle_timeout: str = ""
    http10: bool = False
    unprivileged: bool = False
    exact_balance: bool = False
    settings: str = ""

    __hash__ = _HashedOnce.__hash__

    def has_labels(self, selector: dict[str, str]) -> bool:
        """Whether the proxy carries all these labels (an empty selector matches)."""
        return all(pair in self.labels for pair in selector.items())

    @property
    def wildcard(self) -> str:
        """The wildcard address of the proxy's first IP family."""
        return "0.0.0.0" if self.ipv4 else "::"  # noqa: S104 - a listener address, not a bind of ours

    @property
    def localhost(self) -> str:
        """The loopback address of the proxy's first IP family."""
        return "127.0.0.1" if self.ipv4 else "::1"


@dataclass(frozen=True, slots=True)
class InboundTarget:
    """One service port of the workload behind the proxy: the service, its port number, the port on the workload."""

    service: ServiceKey
    port: int
    target_port: int


@dataclass(frozen=True, slots=True)
class InboundScope(_HashedOnce):
    """Who is called: what inbound listeners and clusters may depend on.

    ``targets`` are the service ports of the workload, oldest service first. ``labels`` holds the pairs that a
    PeerAuthentication or other policy tells apart; ``ips`` is filled only where a Sidecar's ``ingress`` needs them.
    ``settings`` is as in ``ClientScope``.
    """

    namespace: str
    istio: bool = False
    sidecar: ObjectKey | None = None
    targets: tuple[InboundTarget, ...] = ()
    labels: LabelPairs = frozenset()
    ips: tuple[str, ...] = ()
    ipv4: bool = True
    ipv6: bool = False
    interception: str = "REDIRECT"
    idle_timeout: str = ""
    http10: bool = False
    exact_balance: bool = False
    settings: str = ""

    __hash__ = _HashedOnce.__hash__


@dataclass(frozen=True, slots=True)
class ProxyClass(_HashedOnce):
    """What a proxy is to the compiler.

    ``client`` is the proxy as a client; ``reaching`` and ``listening`` are its projections to what clusters and
    outbound listeners may depend on, equal for many clients. ``gateway_targets`` is filled for routers, for the
    ports of their Gateways; ``inbound`` for sidecars.
    """

    client: ClientScope
    reaching: ClientScope
    listening: ClientScope
    inbound: InboundScope | None = None
    gateway_targets: tuple[InboundTarget, ...] = ()

    __hash__ = _HashedOnce.__hash__
