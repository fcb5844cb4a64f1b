"""Services: names of ports that say no protocol, and clusters that disagree about a service."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import codes, raw
from controlplane.analysis.mesh_members import IGNORED_NAMESPACES, is_control_plane
from controlplane.analysis.resources import Message, Resource, Resources, message
from controlplane.model import kinds
from controlplane.model.service import Protocol

_MANAGED = "gateway.istio.io/managed"
_WELL_KNOWN = frozenset({25, 53, 3306, 27017})
"""Ports of SMTP, DNS, MySQL and MongoDB: opaque bytes where no protocol is named."""
_OF_KUBERNETES = frozenset({"kubernetes.io/h2c", "kubernetes.io/ws", "kubernetes.io/wss"})
_HEADLESS = "None"


def port_names(resources: Resources) -> Iterator[Message]:
    """Find ports whose protocol is not named."""
    for service in resources.of(kinds.SERVICE):
        if service.namespace in IGNORED_NAMESPACES or is_control_plane(service) or _MANAGED in service.labels:
            continue
        is_external = raw.text(service.spec, "type") == "ExternalName"
        for at, port in raw.mappings(service.spec, "ports"):
            name, path = raw.text(port, "name"), f"spec.ports[{at}]"
            if is_external and (name == "tcp" or not _has_protocol(port)):
                yield message(codes.EXTERNAL_NAME_PORT, service, path)
            elif not _has_protocol(port):
                number, target = raw.number(port, "port"), raw.at(port, "targetPort") or raw.number(port, "port")
                yield message(codes.PORT_NAME, service, path, name=name, port=number, target=target)


def _has_protocol(port: Mapping[str, Any]) -> bool:
    if raw.text(port, "protocol") == "UDP":
        return True
    stated = raw.text(port, "appProtocol")
    if stated in _OF_KUBERNETES:
        return True
    name = (stated or raw.text(port, "name")).lower()
    first = "grpc-web" if name.startswith("grpc-web") else name.partition("-")[0]
    return Protocol.parse(first) is not Protocol.AUTO or raw.number(port, "port") in _WELL_KNOWN


def clusters(resources: Resources) -> Iterator[Message]:
    """Find services that are not the same in all clusters."""
    by_name: defaultdict[tuple[str, str], list[Resource]] = defaultdict(list)
    for service in resources.of(kinds.SERVICE):
        if service.cluster:
            by_name[service.namespace, service.name].append(service)
    for (namespace, name), several in sorted(by_name.items()):
        first = several[0]
        reasons = {reason: _differing(first, several, reason) for reason in _REASONS}
        differing = {cluster for found in reasons.values() for cluster in found}
        if differing:
            yield message(
                codes.INCONSISTENT_SERVICE,
                first,
                name=name,
                namespace=namespace,
                clusters=sorted({first.cluster, *differing}),
                reasons="; ".join(reason for reason, found in reasons.items() if found),
            )


def _is_headless(service: Resource) -> bool:
    return raw.text(service.spec, "clusterIP") == _HEADLESS


def _type(service: Resource) -> str:
    return raw.text(service.spec, "type") or "ClusterIP"


def _ports(service: Resource) -> list[tuple[str, int, str, str, str]]:
    """Return what ports have in common in all clusters; node ports are of each cluster."""
    return sorted(
        (
            raw.text(port, "name"),
            raw.number(port, "port"),
            raw.text(port, "protocol") or "TCP",
            str(raw.at(port, "targetPort") or raw.number(port, "port")),
            raw.text(port, "appProtocol"),
        )
        for _, port in raw.mappings(service.spec, "ports")
    )


_REASONS = {
    "it is headless in some": _is_headless,
    "its type differs": _type,
    "its ports differ": _ports,
}


def _differing(first: Resource, several: list[Resource], reason: str) -> list[str]:
    trait = _REASONS[reason]
    return [each.cluster for each in several if trait(each) != trait(first)]
