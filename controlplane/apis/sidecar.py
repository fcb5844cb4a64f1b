"""Sidecar: what a sidecar listens on and which services it knows."""

from __future__ import annotations

from enum import StrEnum

from controlplane.apis.common import ApiModel, UInt32, WorkloadLabelSelector
from controlplane.apis.destination_rule import ConnectionPoolSettings
from controlplane.apis.tls import ServerTLSSettings
from controlplane.apis.virtual_service import Destination


class CaptureMode(StrEnum):
    """How traffic reaches a listener; ``DEFAULT`` is the mesh's way."""

    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


class SidecarPort(ApiModel):
    """A listener's port; number 0 goes with a unix domain socket."""

    number: UInt32 = 0
    protocol: str = ""
    name: str = ""
    target_port: UInt32 = 0


class IstioIngressListener(ApiModel):
    """One inbound port. ``default_endpoint`` is where the application listens, empty the workload's own port."""

    port: SidecarPort
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    default_endpoint: str = ""
    tls: ServerTLSSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None


class IstioEgressListener(ApiModel):
    """Services to know, each ``namespace/host``; with ``port`` they get a listener of their own."""

    port: SidecarPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    hosts: tuple[str, ...]


class OutboundTrafficPolicyMode(StrEnum):
    """What becomes of traffic to unknown destinations."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(ApiModel):
    """What becomes of traffic to unknown destinations; ``egress_proxy`` takes it when given."""

    mode: OutboundTrafficPolicyMode = OutboundTrafficPolicyMode.REGISTRY_ONLY
    egress_proxy: Destination | None = None


class Sidecar(ApiModel):
    """``spec`` of a Sidecar; no ``egress`` knows everything, no ``ingress`` listens as the services say."""

    workload_selector: WorkloadLabelSelector | None = None
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
    inbound_connection_pool: ConnectionPoolSettings | None = None
