"""What a workload's ports speak and accept: the plan of its inbound listeners."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace

from controlplane.apis.sidecar import CaptureMode, IstioIngressListener
from controlplane.apis.tls import ServerTLSSettings
from controlplane.model.cluster_names import INBOUND_PASSTHROUGH, config_path, inbound_name
from controlplane.model.proxy_class import InboundScope, InboundTarget
from controlplane.model.service import Protocol, Service
from controlplane.registry.environment import SIDECAR_TLS, enabled
from controlplane.registry.peer_authentication import MtlsMode, WorkloadMtls, workload_mode
from controlplane.registry.policies import WorkloadKey
from controlplane.registry.services import services_of
from controlplane.registry.store import View
from controlplane.translate.clusters.stat_names import stat_name

PASSTHROUGH_NAME = "virtualInbound"
PASSTHROUGH_HTTP_NAME = "virtualInbound-catchall-http"


@dataclass(frozen=True, slots=True)
class InboundPort:
    """What arrives at one port of the workload: its chains are told apart by protocol, these say where they lead.

    ``number`` 0 is every port that no other entry names. ``host`` and ``service_port`` name the service in
    operations and statistics; ``origin`` is the API path of the object behind the port. ``bind`` is set where the
    port has a listener of its own, ``tls`` where TLS that is not the mesh's ends there.
    """

    number: int
    protocol: Protocol
    mode: MtlsMode
    cluster: str
    name: str
    http_name: str
    http_stat_prefix: str
    tcp_stat_prefix: str
    host: str = ""
    service_port: int = 0
    origin: str = ""
    bind: str = ""
    tls: ServerTLSSettings | None = None


def passthrough(number: int, mode: MtlsMode) -> InboundPort:
    """Return what happens to traffic for a port (0: any) that no service knows: it goes where it was sent."""
    return InboundPort(
        number=number,
        protocol=Protocol.AUTO,
        mode=mode,
        cluster=INBOUND_PASSTHROUGH,
        name=PASSTHROUGH_NAME,
        http_name=PASSTHROUGH_HTTP_NAME,
        http_stat_prefix=f"{INBOUND_PASSTHROUGH};",
        tcp_stat_prefix=INBOUND_PASSTHROUGH,
    )


def accepted(view: View, scope: InboundScope) -> WorkloadMtls:
    """Return which of plain text and mutual TLS the workload's ports accept."""
    return workload_mode(view, WorkloadKey(scope.namespace, scope.labels))


def inbound_ports(view: View, scope: InboundScope, stat_pattern: str) -> tuple[InboundPort, ...]:
    """Return the ports of the workload: those a Sidecar's ``ingress`` states, else those of its services, ascending.

    Of several services on one port the oldest decides. ``stat_pattern`` is the mesh's ``inboundClusterStatName``.
    """
    modes = accepted(view, scope)
    obj = view.get(scope.sidecar) if scope.sidecar is not None else None
    if obj is not None and obj.spec.ingress:
        origin = config_path("sidecar", obj.meta.namespace, obj.meta.name)
        host = f"{obj.meta.name}.{scope.namespace}"
        ports = (_ingress_port(scope, ingress, modes, host, origin) for ingress in obj.spec.ingress)
        if not enabled(view, SIDECAR_TLS):
            return tuple(ports)
        return tuple(_ending_tls(port, ingress) for port, ingress in zip(ports, obj.spec.ingress, strict=True))
    if scope.interception == "NONE":
        return ()
    found: dict[int, InboundPort] = {}
    for target in scope.targets:
        if target.target_port not in found:
            service = next(
                (held for held in services_of(view, target.service.object) if held.key == target.service), None
            )
            port = _service_port(scope, target, service, modes, stat_pattern) if service is not None else None
            if port is not None:
                found[target.target_port] = port
    return tuple(found[number] for number in sorted(found))


def port_passthroughs(ports: Iterable[InboundPort], modes: WorkloadMtls) -> tuple[InboundPort, ...]:
    """Return an entry for each port that a policy names and no service has."""
    known = {port.number for port in ports}
    return tuple(passthrough(number, mode) for number, mode in modes.ports if number not in known)


def _service_port(
    scope: InboundScope, target: InboundTarget, service: Service, modes: WorkloadMtls, stat_pattern: str
) -> InboundPort | None:
    port = service.port(target.port)
    if port is None or port.protocol is Protocol.UDP:
        return None
    number = target.target_port
    name = f"{wildcard(scope)}_{number}"
    cluster = inbound_name(number)
    return InboundPort(
        number=number,
        protocol=port.protocol,
        mode=modes.of(number),
        cluster=cluster,
        name=name,
        http_name=name,
        http_stat_prefix=f"inbound_{name};",
        tcp_stat_prefix=stat_name(stat_pattern, service, port) if stat_pattern else cluster,
        host=service.hostname,
        service_port=port.number,
    )


def _ingress_port(
    scope: InboundScope, ingress: IstioIngressListener, modes: WorkloadMtls, host: str, origin: str
) -> InboundPort:
    number = ingress.port.number
    bind = ingress.bind or instance_ip(scope)
    own_listener = scope.interception == "NONE" or ingress.capture_mode is CaptureMode.NONE
    name = f"{bind}_{number}"
    cluster = inbound_name(number)
    return InboundPort(
        number=number,
        protocol=Protocol.parse(ingress.port.protocol),
        mode=modes.of(number),
        cluster=cluster,
        name=name,
        http_name=name,
        http_stat_prefix=f"inbound_{name};",
        tcp_stat_prefix=cluster,
        host=host,
        service_port=number,
        origin=origin,
        bind=bind if own_listener else "",
    )


_INSIDE_TLS = {Protocol.HTTPS: Protocol.HTTP, Protocol.TLS: Protocol.TCP}


def _ending_tls(port: InboundPort, ingress: IstioIngressListener) -> InboundPort:
    """Return a port with the TLS that its listener states, which has effect where callers use none of the mesh's."""
    inside = _INSIDE_TLS.get(port.protocol)
    if ingress.tls is None or inside is None or port.mode is not MtlsMode.DISABLE:
        return port
    return replace(port, protocol=inside, tls=ingress.tls)


def wildcard(scope: InboundScope) -> str:
    """Return the wildcard address of the workload's first IP family."""
    return "0.0.0.0" if scope.ipv4 else "::"  # noqa: S104 - an address in a listener's name


def instance_ip(scope: InboundScope) -> str:
    """Return the address of the instance that others reach it at, the wildcard where it has none."""
    for text in scope.ips:
        address = ipaddress.ip_address(text)
        if not (address.is_loopback or address.is_multicast or address.is_link_local or address.is_unspecified):
            return text
    return wildcard(scope)
