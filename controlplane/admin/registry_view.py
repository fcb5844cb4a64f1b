"""``/debug/registryz``, ``/debug/endpointz`` and ``/debug/rejectedz``: the registry as JSON, in istiod's shapes.

``rejectedz`` is our own: objects that were refused, with every reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


def registry_view(services: Iterable[Service], cluster_id: str) -> list[dict[str, Any]]:
    """Return the services, sorted by host name and namespace."""
    return [_service(service, cluster_id) for service in sorted(services, key=lambda s: (s.hostname, s.namespace))]


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


def endpoint_view(endpoints: Iterable[tuple[Service, tuple[Endpoint, ...]]], cluster_id: str) -> dict[str, Any]:
    """Return host name -> namespace -> shards of endpoints and the accounts they run as."""
    view: dict[str, Any] = {}
    for service, members in sorted(endpoints, key=lambda pair: (pair[0].hostname, pair[0].namespace)):
        shard = f"{_registry(service)}/{cluster_id}"
        accounts = {endpoint.account for endpoint in members if endpoint.account}
        entry = view.setdefault(service.hostname, {}).setdefault(
            service.namespace, {"Shards": {}, "ServiceAccounts": {}}
        )
        entry["Shards"].setdefault(shard, []).extend(_endpoint(endpoint, cluster_id) for endpoint in members)
        entry["ServiceAccounts"] |= _set(accounts)
    return view


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


def rejected_view(rejected: Iterable[Rejected]) -> list[dict[str, Any]]:
    """Return the refused objects with their problems, sorted by key."""
    return [
        {**item.key._asdict(), "problems": list(item.problems), "source": item.source}
        for item in sorted(rejected, key=lambda r: (r.key, r.source))
    ]


def _registry(service: Service) -> str:
    return "Kubernetes" if service.kubernetes else "External"


def _set(members: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return a set as Go writes one."""
    return {member: {} for member in sorted(members)}
