"""One outbound listener as a key, which holds everything its bytes depend on besides the mesh's settings.

An equal key is the same listener, whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import NO_SPANS, SpanSource
from controlplane.registry.traffic_extensions import ExtensionKeys
from controlplane.translate.listeners.chains import Chain, HttpTarget


@dataclass(frozen=True, slots=True)
class ListenerScope:
    """What a listener's bytes depend on of the proxy that holds it."""

    istio: bool = False
    http10: bool = False
    idle_timeout: str = ""
    exact_balance: bool = False
    settings: str = ""
    detects_http10: bool = False
    telemetry: tuple[ObjectKey, ...] = ()
    spans: SpanSource = NO_SPANS
    extensions: ExtensionKeys = ()


@dataclass(frozen=True, slots=True)
class ListenerKey:
    """One outbound listener: ``port`` 0 is a unix socket, whose path ``bind`` gives.

    ``unmatched`` is the cluster for connections that no chain takes, empty where one takes all. ``virtual`` is set
    for the listener that captured traffic arrives at (``transparent``: by TPROXY), ``proxy`` for the HTTP proxy,
    ``of_endpoint`` where ``bind`` is the address of one endpoint of a headless service. Where ``resolves`` is set, HTTP
    that nobody takes goes to the host it names. ``additional`` are addresses that the listener has beside ``bind``.
    """

    name: str
    bind: str
    port: int
    scope: ListenerScope
    chains: tuple[Chain, ...] = ()
    unmatched: str = ""
    bind_to_port: bool = False
    virtual: bool = False
    transparent: bool = False
    proxy: bool = False
    of_endpoint: bool = False
    resolves: bool = False
    additional: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Hash what nearly always tells listeners apart; hashing the chains would cost more than comparing them."""
        return hash((self.name, self.unmatched))

    @property
    def has_http(self) -> bool:
        """Whether some chain speaks HTTP."""
        return self.resolves or any(chain.is_http for chain in self.chains)

    @property
    def route_configurations(self) -> tuple[str, ...]:
        """The names of the route configurations that the listener's chains lead to."""
        return tuple(chain.target.route for chain in self.chains if isinstance(chain.target, HttpTarget))
