"""Proxy classes: everything that can change a proxy's bytes, and nothing else.

A proxy is reduced to a ``ProxyClass`` when it connects and whenever a fact this was derived from changes. The
outbound half (``ClientScope``) and the inbound half (``InboundScope``) are separate, so a thousand pods of fifty
namespaces share fifty outbound halves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Flag, auto
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, get_type_hints

from controlplane.model.objects import ObjectKey
from controlplane.model.patches import NO_PATCHES, ProxyPatches
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


class Shows(Flag):
    """In what of a proxy's configuration a field of its ``ClientScope`` can show, beside the routes of a gateway."""

    CLUSTERS = auto()
    """Each cluster and load assignment."""
    REACH = auto()
    """Which of these there are, and whose rules count."""
    PLACE = auto()
    """The order of endpoints by where the client is."""
    NETWORK = auto()
    """Which endpoints are reached through gateways of their network, and which are seen at all."""
    LISTENERS = auto()
    """Outbound listeners of a sidecar."""
    GATEWAY_LISTENERS = auto()
    ROUTES = auto()
    """Route configurations of a sidecar."""
    ANY_LISTENERS = LISTENERS | GATEWAY_LISTENERS
    EVERYWHERE = CLUSTERS | REACH | PLACE | ANY_LISTENERS


class SpanSource(NamedTuple):
    """What the spans of a proxy say of where they come from, as far as that is wanted; nothing without tracing.

    ``service`` is what the tracer calls the service. ``tags`` are the names and values of Istio's own tags. ``release``
    is the minor version of the release of Istio whose Envoy the proxy has, 0 where no provider takes spans. ``lost`` is
    set where Envoy would refuse the tracer, since the proxy has no cluster of the collector.
    """

    service: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    release: int = 0
    lost: bool = False


NO_SPANS = SpanSource()


class FileCertificates(NamedTuple):
    """A key pair and roots in files of the proxy, which it uses instead of the mesh's; paths, empty for none.

    ``apart`` says that a server of its own at the proxy reads files, beside the one that has the mesh's certificates.
    ``credentials`` says that another one there has what ``credentialName: sds://NAME`` names.
    """

    chain: str = ""
    key: str = ""
    root: str = ""
    apart: bool = False
    credentials: bool = False


NO_FILES = FileCertificates()


@dataclass(frozen=True, slots=True)
class ClientScope(_HashedOnce):
    """Who is calling: what outbound clusters, endpoints, listeners and routes may depend on; each field says which.

    ``istio`` is true for an istio-proxy (node metadata ``ISTIO_VERSION``), false for a stock Envoy. ``sidecar`` is
    the Sidecar resource in force. ``labels`` holds only the pairs that some selector or source match tells apart,
    ``node`` and ``own_ips`` only where some service makes a difference by them. ``domain`` is the proxy's DNS domain.
    ``interception`` is ``REDIRECT``, ``TPROXY`` or ``NONE``. ``http_proxy_port`` 0 means no HTTP proxy listener.
    ``settings`` is what the proxy's own ProxyConfig changes (see ``registry.proxy_settings``), empty for nothing.
    ``dual_stack`` is set where it has addresses of both families and wants what it is served to be for both.
    ``http10`` says that HTTP/1.0 is taken, ``detects_http10`` that it is told from other bytes too. ``telemetry``
    are the Telemetry objects that apply, the most general first; ``spans`` is what spans say of the proxy.
    ``extensions`` are the WasmPlugins and TrafficExtensions for the workload, whatever traffic they are for;
    ``fetches`` is set where there are some, or patches with settings of filters, and an agent that fetches modules.
    ``network`` is what the proxy says; of networks it sees those of ``network_view`` alone, unless that is empty.
    ``files`` is what the proxy calls others with, ``server_files`` what a gateway shows those who call it.
    """

    namespace: Annotated[str, Shows.REACH | Shows.ANY_LISTENERS | Shows.ROUTES]
    router: Annotated[bool, Shows.EVERYWHERE] = False
    istio: Annotated[bool, Shows.EVERYWHERE] = False
    sidecar: Annotated[ObjectKey | None, Shows.REACH | Shows.LISTENERS | Shows.ROUTES] = None
    domain: Annotated[str, Shows.LISTENERS | Shows.ROUTES] = ""
    ipv4: Annotated[bool, Shows.EVERYWHERE | Shows.ROUTES] = True
    ipv6: Annotated[bool, Shows.EVERYWHERE | Shows.ROUTES] = False
    cluster_id: Annotated[str, Shows.CLUSTERS] = "Kubernetes"
    network: Annotated[str, Shows.NETWORK] = ""
    network_view: Annotated[frozenset[str], Shows.NETWORK] = frozenset()
    locality: Annotated[Locality, Shows.PLACE] = field(default_factory=Locality)
    labels: Annotated[LabelPairs, Shows.PLACE | Shows.ANY_LISTENERS | Shows.ROUTES] = frozenset()
    node: Annotated[str, Shows.PLACE] = ""
    own_ips: Annotated[frozenset[str], Shows.LISTENERS] = frozenset()
    interception: Annotated[str, Shows.ANY_LISTENERS] = "REDIRECT"
    dns_capture: Annotated[bool, Shows.ANY_LISTENERS | Shows.ROUTES] = False
    http_proxy_port: Annotated[int, Shows.ANY_LISTENERS] = 0
    idle_timeout: Annotated[str, Shows.ANY_LISTENERS] = ""
    http10: Annotated[bool, Shows.ANY_LISTENERS] = False
    unprivileged: Annotated[bool, Shows.ANY_LISTENERS] = False
    exact_balance: Annotated[bool, Shows.ANY_LISTENERS] = False
    settings: Annotated[str, Shows.CLUSTERS | Shows.ANY_LISTENERS | Shows.ROUTES] = ""
    dual_stack: Annotated[bool, Shows.CLUSTERS | Shows.ANY_LISTENERS] = False
    detects_http10: Annotated[bool, Shows.ANY_LISTENERS] = False
    telemetry: Annotated[tuple[ObjectKey, ...], Shows.ANY_LISTENERS] = ()
    spans: Annotated[SpanSource, Shows.ANY_LISTENERS] = NO_SPANS
    extensions: Annotated[tuple[ObjectKey, ...], Shows.ANY_LISTENERS] = ()
    fetches: Annotated[bool, Shows(0)] = False
    files: Annotated[FileCertificates, Shows.CLUSTERS] = NO_FILES
    server_files: Annotated[FileCertificates, Shows.GATEWAY_LISTENERS] = NO_FILES

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


def _shows() -> dict[str, Shows]:
    hints = get_type_hints(ClientScope, include_extras=True)
    return {each.name: hints[each.name].__metadata__[0] for each in fields(ClientScope)}


_SHOWS = _shows()


def projected(client: ClientScope, what: Shows) -> ClientScope:
    """Return the client with those fields alone that show in ``what``; clients that come to the same can share it."""
    kept = {name: getattr(client, name) for name, shows in _SHOWS.items() if shows & what}
    return ClientScope(**{"namespace": "", **kept})


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
    ``settings`` and the fields behind it are as in ``ClientScope``; ``files`` is what callers are shown.
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
    dual_stack: bool = False
    detects_http10: bool = False
    telemetry: tuple[ObjectKey, ...] = ()
    spans: SpanSource = NO_SPANS
    extensions: tuple[ObjectKey, ...] = ()
    files: FileCertificates = NO_FILES

    __hash__ = _HashedOnce.__hash__


@dataclass(frozen=True, slots=True)
class SidecarClass(_HashedOnce):
    """What a sidecar is to the compiler.

    ``client`` is the proxy as a client; ``reaching``, ``listening`` and ``routing`` are its projections to what
    clusters, outbound listeners and routes may depend on, equal for many clients. ``inbound`` is the proxy as a server.
    ``patches`` are those of EnvoyFilters that select the proxy.
    """

    client: ClientScope
    reaching: ClientScope
    listening: ClientScope
    routing: ClientScope
    inbound: InboundScope
    patches: ProxyPatches = NO_PATCHES

    __hash__ = _HashedOnce.__hash__


@dataclass(frozen=True, slots=True)
class GatewayClass(_HashedOnce):
    """What a gateway (node type ``router``) is to the compiler.

    ``client`` and ``reaching`` are as in ``SidecarClass``; ``targets`` are the service ports that lead to the proxy,
    for the ports of its Gateways; ``patches`` as in ``SidecarClass``. ``limited`` is set where it has clusters of those
    services alone that it needs. ``udp`` are the UDP ports of its services, where servers are to speak HTTP/3 there.
    """

    client: ClientScope
    reaching: ClientScope
    targets: tuple[InboundTarget, ...] = ()
    patches: ProxyPatches = NO_PATCHES
    limited: bool = False
    udp: frozenset[int] = frozenset()

    __hash__ = _HashedOnce.__hash__


ProxyClass = SidecarClass | GatewayClass
"""What a proxy is to the compiler: everything that can change its bytes, and nothing else."""
