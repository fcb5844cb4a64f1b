"""What listeners take of the mesh's configuration and of the proxy's own; its other changes do not reach them.

Each field is read for the side and the protocols that use it alone, so that a change rebuilds only what it shows in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

from controlplane.apis.mesh import NormalizationType, TLSConfig
from controlplane.apis.mesh_providers import SdsProvider
from controlplane.apis.mesh_proxy import ConnectionSettings, ProxyConfig, ProxyHeaders, Topology
from controlplane.apis.virtual_service import HTTPRetry
from controlplane.engine.recording import query
from controlplane.model.proxy_class import NO_SPANS, SpanSource
from controlplane.model.side import Side
from controlplane.registry.access_logs import AccessLogs, access_logs
from controlplane.registry.environment import SESSIONS, SIDECAR_TLS, compliance_policy, enabled
from controlplane.registry.mesh import PeerTls, mesh_config, peer_tls, ports
from controlplane.registry.metrics import Stats, stats
from controlplane.registry.providers import provider_clusters, secret_server
from controlplane.registry.proxy_settings import proxy_config
from controlplane.registry.store import View
from controlplane.registry.telemetry import Chain
from controlplane.registry.tracing import Tracing, TracingKey, tracing

_HEADERS = ("request_id", "server", "envoy_debug_headers", "preserve_http1_header_case", "x_forwarded_port")
_HEADERS_OF = {
    Side.OUTBOUND: (*_HEADERS, "metadata_exchange_headers"),
    Side.INBOUND: (*_HEADERS, "forwarded_client_cert", "set_current_client_cert_details"),
    Side.GATEWAY: (*_HEADERS, "metadata_exchange_headers"),
}
"""The fields of ``proxyHeaders`` that show in the listeners of each side."""


@dataclass(frozen=True, slots=True)
class Headers:
    """What is done to headers and paths. ``topology`` is for gateways alone."""

    proxy: ProxyHeaders = field(default_factory=ProxyHeaders)
    paths: NormalizationType = NormalizationType.DEFAULT
    topology: Topology | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of connections. ``detection`` is how long a protocol is waited for, zero without end."""

    connections: ConnectionSettings | None = None
    detection: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """What listeners of one side take of the configuration.

    ``tracing`` ``None`` means that nothing is traced. ``metrics`` are istio-proxy's own, a filter each. ``sessions`` is
    set where routes may keep a client at one endpoint.
    """

    logs: AccessLogs = field(default_factory=AccessLogs)
    tracing: Tracing | None = None
    metrics: tuple[Stats, ...] = ()
    headers: Headers = field(default_factory=Headers)
    limits: Limits = field(default_factory=Limits)
    sessions: bool = False


class SettingsKey(NamedTuple):
    """Whose settings: ``own`` are the proxy's own (see ``proxy_settings``).

    ``telemetry`` and ``spans`` are as in the proxy's class. ``http`` is false for listeners without any HTTP.
    """

    side: Side
    own: str = ""
    telemetry: Chain = ()
    spans: SpanSource = NO_SPANS
    http: bool = True


@query
def listener_settings(view: View, key: SettingsKey) -> ListenerSettings:
    """Return the settings of the listeners of one side."""
    logs, metrics = access_logs(view, key.telemetry, key.side), stats(view, key.telemetry, key.side)
    if not key.http:
        return ListenerSettings(logs=logs, metrics=metrics)
    config = proxy_config(view, key.own)
    traced = None if key.spans.lost else tracing(view, TracingKey(key.own, key.telemetry, key.side))
    return ListenerSettings(
        logs=logs,
        tracing=replace(traced, source=key.spans) if traced is not None else None,
        metrics=metrics,
        headers=_headers(view, config, key.side),
        limits=Limits(config.connection_settings, _detection(view, key.side)),
        sessions=key.side is not Side.INBOUND and enabled(view, SESSIONS),
    )


def _headers(view: View, config: ProxyConfig, side: Side) -> Headers:
    stated = config.proxy_headers or ProxyHeaders()
    return Headers(
        proxy=ProxyHeaders.model_construct(**{name: getattr(stated, name) for name in _HEADERS_OF[side]}),
        paths=mesh_config(view).path_normalization.normalization,
        topology=config.gateway_topology if side is Side.GATEWAY else None,
    )


def _detection(view: View, side: Side) -> timedelta:
    return timedelta(0) if side is Side.GATEWAY else mesh_config(view).protocol_detection_timeout


@query
def settings_clusters(view: View, key: SettingsKey) -> frozenset[str]:
    """Return the clusters of the services that listeners of one side send access logs and spans to."""
    settings = listener_settings(view, key)
    return provider_clusters((settings.logs, settings.tracing))


@dataclass(frozen=True, slots=True)
class InboundSettings:
    """What inbound listeners take beside.

    ``port`` is that of captured traffic, ``stat_name`` the pattern of statistics; ``retry`` ``None`` means the default.
    ``own_tls`` bounds the TLS that a Sidecar's ``ingress`` states.
    """

    listener: ListenerSettings
    tls: PeerTls
    port: int
    stat_name: str = ""
    retry: HTTPRetry | None = None
    own_tls: TLSConfig | None = None
    compliance: str = ""


@query
def inbound_settings(view: View, key: SettingsKey) -> InboundSettings:
    """Return the settings of inbound listeners."""
    mesh = mesh_config(view)
    return InboundSettings(
        listener=listener_settings(view, key),
        tls=peer_tls(view, ()),
        port=ports(view, ()).inbound,
        stat_name=mesh.inbound_cluster_stat_name,
        retry=mesh.default_inbound_http_retry_policy,
        own_tls=mesh.tls_defaults if enabled(view, SIDECAR_TLS) else None,
        compliance=compliance_policy(view),
    )


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What gateways' listeners take beside: the bounds of TLS, and who has the secrets that ``sds://`` names.

    ``compliance`` is the policy for cryptography, empty for none.
    """

    listener: ListenerSettings
    tls: TLSConfig | None = None
    secrets: SdsProvider | None = None
    compliance: str = ""


@query
def gateway_settings(view: View, key: SettingsKey) -> GatewaySettings:
    """Return the settings of gateways' listeners."""
    return GatewaySettings(
        listener=listener_settings(view, key),
        tls=mesh_config(view).tls_defaults,
        secrets=secret_server(view),
        compliance=compliance_policy(view),
    )
