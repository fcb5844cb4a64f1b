"""Kubernetes' own kinds, trimmed to the values of ``model.kubernetes``.

Each function reads one raw object through ``Fields``, which collects what does not fit; the result counts only
when nothing was collected. A function returns a text instead where the object is right and still of no use here.
"""

from __future__ import annotations

import base64
import binascii
import socket
from typing import TYPE_CHECKING, Any, TypeVar

from controlplane.model import kinds
from controlplane.model.credentials import LOGIN_TYPE, UnusableError, key_pair, registry_logins, trusted_roots
from controlplane.model.kubernetes import (
    ConfigMap,
    ContainerPort,
    EndpointSlice,
    KubeService,
    KubeServicePort,
    Namespace,
    Node,
    Pod,
    Secret,
    ServiceAccount,
    SliceEndpoint,
)
from controlplane.watchers.ingress import ingress, ingress_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controlplane.model.objects import Meta
    from controlplane.watchers.fields import Fields

Part = TypeVar("Part")

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MULTICLUSTER_LABEL = "multicluster.kubernetes.io/service-name"

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
_JOB_TIME_DIGITS = range(8, 11)


def namespace(obj: Fields, meta: Meta) -> Namespace:
    """Read a Namespace."""
    del obj, meta
    return Namespace()


def node(obj: Fields, meta: Meta) -> Node:
    """Read a Node."""
    del meta
    status = obj.fields("status")
    major, _, rest = status.fields("nodeInfo").text("kubeletVersion").removeprefix("v").partition(".")
    minor = rest.partition(".")[0]
    version = (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)
    known = ((each.text("type"), each.text("address")) for each in status.each("addresses"))
    return Node(version, tuple(address for kind, address in known if kind == "ExternalIP" and address))


def service_account(obj: Fields, meta: Meta) -> ServiceAccount:
    """Read a ServiceAccount."""
    del obj, meta
    return ServiceAccount()


def config_map(obj: Fields, meta: Meta) -> ConfigMap:
    """Read a ConfigMap; ``binaryData`` is left out."""
    del meta
    return ConfigMap(obj.text_map("data"))


def secret(obj: Fields, meta: Meta) -> Secret:
    """Read what a Secret holds for proxies; ``stringData`` wins over ``data``, as when it is written to a cluster.

    An entry that is no key or certificate costs its own part: what else the Secret holds is used.
    """
    del meta
    data: dict[str, bytes] = {}
    for key, text in obj.text_map("data").items():
        try:
            data[key] = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            obj.problem(f"data.{key}", "is not base64")
    data.update((key, text.encode()) for key, text in obj.text_map("stringData").items())
    pair, pair_problem = _part(key_pair, data)
    roots, roots_problem = _part(trusted_roots, data)
    kind = obj.text("type")
    logins, logins_problem = _part(registry_logins, data) if kind == LOGIN_TYPE else ("", "")
    return Secret(kind, pair, roots, pair_problem, roots_problem, logins or "", logins_problem)


def _part(read: Callable[[Mapping[str, bytes]], Part | None], data: Mapping[str, bytes]) -> tuple[Part | None, str]:
    """Return one part of a Secret, and what is wrong with it."""
    try:
        return read(data), ""
    except UnusableError as error:
        return None, str(error)


def service(obj: Fields, meta: Meta) -> KubeService:
    """Read a Service; ``spec.clusterIPs`` wins over ``spec.clusterIP``."""
    del meta
    spec = obj.fields("spec")
    kind = spec.text("type", "ClusterIP") or "ClusterIP"
    if kind not in _SERVICE_TYPES:
        spec.problem("type", f"must be one of {', '.join(_SERVICE_TYPES)}")
    single = spec.text("clusterIP")
    cluster_ips = tuple(ip for ip in spec.texts("clusterIPs") or (single,) if ip)
    for ip in cluster_ips:
        if ip != "None":
            _check_address(spec, "clusterIPs" if "clusterIPs" in spec else "clusterIP", ip)
    return KubeService(
        type=kind,
        cluster_ips=() if kind == "ExternalName" else cluster_ips,
        ports=tuple(_service_port(port) for port in spec.each("ports")),
        selector=spec.text_map("selector"),
        external_name=spec.text("externalName"),
        external_ips=spec.texts("externalIPs"),
        load_balancer_ips=tuple(
            address
            for ingress in obj.fields("status").fields("loadBalancer").each("ingress")
            if (address := ingress.text("ip") or ingress.text("hostname"))
        ),
        publish_not_ready_addresses=bool(spec.flag("publishNotReadyAddresses")),
        internal_traffic_policy=spec.text("internalTrafficPolicy"),
        traffic_distribution=spec.text("trafficDistribution"),
    )


def _service_port(port: Fields) -> KubeServicePort:
    return KubeServicePort(
        number=_required_port(port, "port"),
        name=port.text("name"),
        protocol=_protocol(port),
        app_protocol=port.text("appProtocol") or None,
        target_port=_target_port(port),
        node_port=port.number("nodePort") or 0,
    )


def _target_port(port: Fields) -> int | str:
    value = port.raw("targetPort")
    if type(value) is str:
        return value or 0
    return port.number("targetPort") or 0


def _required_port(port: Fields, name: str) -> int:
    if name not in port:
        port.problem(name, "is required")
        return 0
    return port.number(name, low=1) or 0


def _protocol(port: Fields) -> str:
    protocol = port.text("protocol", "TCP") or "TCP"
    if protocol not in _PROTOCOLS:
        port.problem("protocol", f"must be one of {', '.join(_PROTOCOLS)}")
    return protocol


def _check_address(fields: Fields, name: str, address: str, families: tuple[str, ...] = ("IPv4", "IPv6")) -> None:
    for family in families:
        try:
            socket.inet_pton(_FAMILIES[family], address)
        except (OSError, ValueError):
            continue
        return
    fields.problem(name, f"expected {' or '.join(families)} addresses, got {address[:60]!r}")


def endpoint_slice(obj: Fields, meta: Meta) -> EndpointSlice | str:
    """Read an EndpointSlice; of no use without a service, when mirrored from elsewhere, or when it holds names."""
    if MULTICLUSTER_LABEL in meta.labels:
        return f"has the label {MULTICLUSTER_LABEL}"
    owner = meta.labels.get(SERVICE_NAME_LABEL, "")
    if not owner:
        return f"has no label {SERVICE_NAME_LABEL}"
    family = obj.text("addressType", "IPv4")
    if family == "FQDN":
        return "holds names instead of addresses"
    if family not in _FAMILIES:
        obj.problem("addressType", "must be one of IPv4, IPv6, FQDN")
        return EndpointSlice(owner)
    ports = ((port.text("name"), port.number("port", low=1)) for port in obj.each("ports"))
    endpoints = (_slice_endpoint(endpoint, family) for endpoint in obj.each("endpoints"))
    return EndpointSlice(
        service=owner,
        address_type=family,
        ports=tuple((name, number) for name, number in ports if number is not None),
        endpoints=tuple(sorted(endpoints, key=lambda each: (each.addresses, each.pod))),  # whatever order they come in
    )


def _slice_endpoint(endpoint: Fields, family: str) -> SliceEndpoint:
    addresses = endpoint.texts("addresses")
    if not addresses:
        endpoint.problem("addresses", "must hold at least one address")
    for address in addresses:
        _check_address(endpoint, "addresses", address, (family,))
    conditions, target = endpoint.fields("conditions"), endpoint.fields("targetRef")
    names_pod = target.text("kind") == "Pod"
    return SliceEndpoint(
        addresses=addresses,
        ready=conditions.flag("ready"),
        serving=conditions.flag("serving"),
        terminating=conditions.flag("terminating"),
        pod=target.text("name") if names_pod else "",
        namespace=target.text("namespace") if names_pod else "",
        hostname=endpoint.text("hostname"),
    )


def pod(obj: Fields, meta: Meta) -> Pod:
    """Read a Pod; one that has finished has no addresses, since another may have been given them."""
    metadata, spec, status = obj.fields("metadata"), obj.fields("spec"), obj.fields("status")
    finished = status.text("phase") in ("Succeeded", "Failed")
    listed = tuple(entry.text("ip") for entry in status.each("podIPs")) or (status.text("podIP"),)
    ips = tuple(ip for ip in listed if ip)
    for ip in ips:
        _check_address(status, "podIPs" if "podIPs" in status else "podIP", ip)
    conditions = {entry.text("type"): entry.text("status") for entry in status.each("conditions")}
    return Pod(
        ips=() if finished else ips,
        node=spec.text("nodeName"),
        service_account=spec.text("serviceAccountName") or "default",
        ready=conditions.get("Ready") == "True",
        terminating="deletionTimestamp" in metadata,
        hostname=spec.text("hostname"),
        subdomain=spec.text("subdomain"),
        workload=_workload(metadata, meta),
        ports=_container_ports(spec),
        host_network=bool(spec.flag("hostNetwork")),
    )


def _container_ports(spec: Fields) -> tuple[ContainerPort, ...]:
    """Return the declared ports of containers, then of init containers that keep running (native sidecars)."""
    sidecars = [init for init in spec.each("initContainers") if init.text("restartPolicy") == "Always"]
    return tuple(
        ContainerPort(_required_port(port, "containerPort"), port.text("name"), _protocol(port))
        for container in [*spec.each("containers"), *sidecars]
        for port in container.each("ports")
    )


def _workload(metadata: Fields, meta: Meta) -> str:
    """Return the name of what a person created: the controller, or the controller's own where its name tells."""
    owners = metadata.each("ownerReferences")
    if not owners:
        return meta.name
    owner = next((reference for reference in owners if reference.flag("controller")), owners[0])
    kind, name = owner.text("kind"), owner.text("name")
    stem, _, last = name.rpartition("-")
    if kind == "ReplicaSet" and stem:
        hashes = (meta.labels.get("pod-template-hash"), meta.labels.get("rollouts-pod-template-hash"))
        return stem if last in hashes else name
    if kind == "ReplicationController" and (config := meta.labels.get("deploymentconfig")):
        return config
    if kind == "Job" and stem and last.isdecimal() and len(last) in _JOB_TIME_DIGITS:
        return stem
    return name or meta.name


READERS: dict[tuple[str, str, str], Callable[[Fields, Meta], Any]] = {
    ("", "v1", "Namespace"): namespace,
    ("", "v1", "Node"): node,
    ("", "v1", "ServiceAccount"): service_account,
    ("", "v1", "ConfigMap"): config_map,
    ("", "v1", "Secret"): secret,
    ("", "v1", "Service"): service,
    ("", "v1", "Pod"): pod,
    ("discovery.k8s.io", "v1", "EndpointSlice"): endpoint_slice,
    ("networking.k8s.io", "v1", "Ingress"): ingress,
    ("networking.k8s.io", "v1", "IngressClass"): ingress_class,
}
"""How to read each kind: (API group, version, kind) to its function."""
CLUSTER_SCOPED = frozenset({kinds.NAMESPACE, kinds.NODE, kinds.INGRESS_CLASS})
