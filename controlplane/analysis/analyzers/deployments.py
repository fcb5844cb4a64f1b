"""Deployments and Pods: Services that disagree about a port, and the user of the proxy taken by an application."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import codes, raw
from controlplane.analysis.mesh_members import PROXY, deployment_in_mesh, is_control_plane
from controlplane.analysis.resources import Message, Resource, Resources, has_labels, message
from controlplane.model import kinds

_WAYPOINT = ("gateway.istio.io/managed", "istio.io-mesh-controller")
_PROXY_UID = 1337
_OWN = frozenset({PROXY, "istio-operator"})


def services(resources: Resources) -> Iterator[Message]:
    """Find deployments of which several Services take a port differently."""
    for deployment in resources.of(kinds.DEPLOYMENT):
        if deployment.labels.get(_WAYPOINT[0]) != _WAYPOINT[1] and deployment_in_mesh(resources, deployment):
            selecting = list(_selecting(resources, deployment))
            yield from _protocols(deployment, selecting)
            yield from _targets(deployment, selecting)


def _selecting(resources: Resources, deployment: Resource) -> Iterator[Resource]:
    labels = raw.string_map(deployment.spec, "template", "metadata", "labels")
    for service in resources.within(kinds.SERVICE, deployment.namespace):
        selector = raw.string_map(service.spec, "selector")
        if selector and has_labels(labels, selector):
            yield service


def _protocols(deployment: Resource, selecting: list[Resource]) -> Iterator[Message]:
    at_port: defaultdict[int, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for service in selecting:
        for _, port in raw.mappings(service.spec, "ports"):
            at_port[raw.number(port, "port")][raw.text(port, "protocol") or "TCP"].append(service.full_name)
    for number, by_protocol in sorted(at_port.items()):
        if len(by_protocol) > 1:
            names = sorted(name for each in by_protocol.values() for name in each)
            told = {"deployment": deployment.name, "port": number, "services": names}
            yield message(codes.SEVERAL_SERVICES, deployment, "metadata.name", **told)


def _targets(deployment: Resource, selecting: list[Resource]) -> Iterator[Message]:
    by_target: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for service in selecting:
        for _, port in raw.mappings(service.spec, "ports"):
            number, target = raw.number(port, "port"), raw.at(port, "targetPort")
            by_target[str(target or number)][number] = service.full_name
    for target, by_port in sorted(by_target.items()):
        if len(by_port) > 1:
            yield message(
                codes.CONFLICTING_PORTS,
                deployment,
                "metadata.name",
                deployment=deployment.name,
                services=sorted(by_port.values()),
                target=target,
                ports=sorted(by_port),
            )


def application_uid(resources: Resources) -> Iterator[Message]:
    """Find applications that run as the user whose connections are not led through the proxy."""
    for pod in resources.of(kinds.POD):
        yield from _uids(pod, pod.spec, "spec")
    for deployment in resources.of(kinds.DEPLOYMENT):
        yield from _uids(deployment, raw.mapping(deployment.spec, "template", "spec"), "spec.template.spec")


def _uids(resource: Resource, spec: Mapping[str, Any], path: str) -> Iterator[Message]:
    if is_control_plane(resource):
        return
    field = "securityContext.runAsUser"
    if raw.number(spec, "securityContext", "runAsUser") == _PROXY_UID:
        yield message(codes.APPLICATION_UID, resource, f"{path}.{field}")
    for at, container in raw.mappings(spec, "containers"):
        runs_as = raw.number(container, "securityContext", "runAsUser")
        if raw.text(container, "name") not in _OWN and runs_as == _PROXY_UID:
            yield message(codes.APPLICATION_UID, resource, f"{path}.containers[{at}].{field}")
