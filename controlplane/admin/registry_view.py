"""``/debug/registryz``, ``/debug/endpointz`` and ``/debug/rejectedz``: the registry as JSON, in istiod's shapes.

``rejectedz`` is our own: objects that were refused, with every reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from controlplane.admin.json_text import Items, Members, Value
from controlplane.model.objects import Rejected
from controlplane.model.service import Endpoint, Resolution, Service

_RESOLUTIONS = {  # istiod writes the ordinal
    Resolution.CLIENT_SIDE: 0,
    Resolution.DNS: 1,
    Resolution.PASSTHROUGH: 2,
    Resolution.DNS_ROUND_ROBIN: 3,
    Resolution.ALIAS: 4,
    Resolution.DYNAMIC_DNS: 5,
}


def service_order(service: Service) -> tuple[str, ...]:
    """Return what services are sorted by: host name and namespace."""
    return (service.hostname, service.namespace)


def registry_view(services: Iterable[Service], cluster_id: str) -> Iterator[dict[str, Any]]:
    """Yield the services."""
    return (_service(service, cluster_id) for service in services)


def _service(service: Service, cluster_id: str) -> dict[str, Any]:
    created = service.age_order[0]
    attributes: dict[str, Any] = {
        "ServiceRegistry": _registry(service),
        "Name": service.name,
        "Namespace": service.namespace,
        "Labels": dict(service.labels),
        "ExportTo": _set(service.export_to),
        "LabelSelectors": None if service.selector is None else dict(service.selector),
        "ExternalName": service.external_name,
        "NodeLocal": service.node_local,
        "TrafficDistribution": service.traffic_distribution,
        "ObjectName": service.key.object.name,
    }
    return {
        "Attributes": attributes,
        "ports": [{"name": port.name, "port": port.number, "protocol": port.protocol.value} for port in service.ports],
        **({"serviceAccounts": list(service.accounts)} if service.accounts else {}),
        **({"creationTime": created} if created else {}),
        "hostname": service.hostname,
        "clusterVIPs": {"Addresses": {cluster_id: list(service.addresses)} if service.addresses else None},
        "defaultAddress": service.addresses[0] if service.addresses else "0.0.0.0",  # noqa: S104 - istiod's "none"
        "autoAllocatedAddresses": list(service.auto_addresses),
        "Resolution": _RESOLUTIONS[service.resolution],
        "MeshExternal": service.mesh_external,
        "ResourceVersion": "",
    }


def endpoint_view(
    services: Iterable[Service], endpoints: Callable[[Service], tuple[Endpoint, ...]], cluster_id: str
) -> Iterator[tuple[str, Value]]:
    """Yield host name -> namespace -> shards of endpoints and the accounts they run as; services are in order."""
    for hostname, of_host in groupby(services, lambda service: service.hostname):
        by_namespace = groupby(tuple(of_host), lambda service: service.namespace)
        yield (
            hostname,
            Members([(namespace, _shards(tuple(held), endpoints, cluster_id)) for namespace, held in by_namespace]),
        )


def _shards(
    services: tuple[Service, ...], endpoints: Callable[[Service], tuple[Endpoint, ...]], cluster_id: str
) -> Value:
    shards: dict[str, list[Endpoint]] = {}
    for service in services:
        shards.setdefault(f"{_registry(service)}/{cluster_id}", []).extend(endpoints(service))
    accounts = {endpoint.account for members in shards.values() for endpoint in members if endpoint.account}
    shown = Members([(shard, _members(members, cluster_id)) for shard, members in shards.items()])
    return Members((("Shards", shown), ("ServiceAccounts", _set(accounts))))


def _members(members: Iterable[Endpoint], cluster_id: str) -> Items:
    return Items(_endpoint(endpoint, cluster_id) for endpoint in members)


def _endpoint(endpoint: Endpoint, cluster_id: str) -> dict[str, Any]:
    return {
        "Labels": dict(endpoint.labels),
        "Addresses": [endpoint.address],
        "ServicePortName": endpoint.port_name,
        "ServiceAccount": endpoint.account,
        "Network": endpoint.network,
        "Locality": {"Label": str(endpoint.locality), "ClusterID": cluster_id},
        "EndpointPort": endpoint.port,
        "LbWeight": endpoint.weight,
        "TLSMode": endpoint.tls_mode,
        "Namespace": endpoint.namespace,
        "WorkloadName": endpoint.workload,
        "HostName": endpoint.hostname,
        "SubDomain": endpoint.subdomain,
        "HealthStatus": int(endpoint.health),
        "NodeName": endpoint.node,
    }


def rejected_order(rejected: Rejected) -> tuple[str, ...]:
    """Return what refused objects are sorted by."""
    key = rejected.key
    return (*key.kind, key.namespace, key.name, key.cluster, rejected.source)


def rejected_view(rejected: Iterable[Rejected]) -> Iterator[dict[str, Any]]:
    """Yield the refused objects with their problems."""
    return ({**item.key.words(), "problems": list(item.problems), "source": item.source} for item in rejected)


def _registry(service: Service) -> str:
    return "Kubernetes" if service.kubernetes else "External"


def _set(members: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return a set as Go writes one."""
    return {member: {} for member in sorted(members)}
