"""Services and their endpoints."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.admin.pace import PAUSE, Pause
from controlplane.admin.sources import AdminSources
from controlplane.api.models import Endpoint, ObjectName, Port, Service, ServiceDetail
from controlplane.api.queries import ServicesQuery
from controlplane.model import service as model

MOST_ENDPOINTS = 500


def services_found(sources: AdminSources, asked: ServicesQuery) -> Iterator[model.Service | Pause]:
    """Yield the services that are asked for."""
    for service in sources.services():
        yield PAUSE
        if asked.namespace in {"", service.namespace} and asked.name in service.hostname:
            yield service


def service_row(sources: AdminSources, service: model.Service) -> Service:
    """Return one service as lists have it."""
    endpoints = sources.endpoints(service)
    return Service(
        hostname=service.hostname,
        namespace=service.namespace,
        object=ObjectName.of(service.key.object),
        ports=[Port(number=each.number, name=each.name, protocol=each.protocol.value) for each in service.ports],
        resolution=service.resolution.value,
        mesh_external=service.mesh_external,
        addresses=list(service.addresses),
        endpoints=len(endpoints),
        healthy=sum(each.health in {model.Health.HEALTHY, model.Health.UNKNOWN} for each in endpoints),
    )


def service_detail(sources: AdminSources, service: model.Service) -> Iterator[ServiceDetail | Pause]:
    """Yield pauses, and at the end one service with its endpoints."""
    shown: list[Endpoint] = []
    for each in sources.endpoints(service)[:MOST_ENDPOINTS]:
        yield PAUSE
        shown.append(
            Endpoint(
                address=each.address,
                port=each.port,
                port_name=each.port_name,
                health=each.health.name,
                weight=each.weight,
                locality=str(each.locality),
                workload=each.workload,
                namespace=each.namespace,
                account=each.account,
                tls_mode=each.tls_mode,
                network=each.network,
            )
        )
    yield ServiceDetail(
        service=service_row(sources, service),
        labels=dict(service.labels),
        selector=dict(service.selector) if service.selector is not None else None,
        export_to=sorted(service.export_to),
        endpoints=shown,
    )
