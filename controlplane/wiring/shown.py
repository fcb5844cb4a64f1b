"""What the monitoring port shows of the registry."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.apis.kinds import KINDS
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Object
from controlplane.model.service import Endpoint, Service
from controlplane.registry.endpoints import endpoints
from controlplane.registry.services import service_table
from controlplane.registry.store import Registry


def services(registry: Registry) -> Iterator[Service]:
    """Yield all services of the mesh."""
    return registry.memo.get(service_table, ()).each()


def endpoints_of(registry: Registry, service: Service) -> tuple[Endpoint, ...]:
    """Return the endpoints of a service; none where they cannot be found out."""
    found: tuple[Endpoint, ...] | None = registry.memo.outcome(endpoints, (service.hostname, service.namespace)).value
    return found or ()


def objects_in_force(registry: Registry) -> Iterator[Object]:
    """Yield Istio's objects, as long as each is there when its turn comes."""
    for name, kind in KINDS.items():
        for key in registry.keys(GroupKind(name, kind.group)):
            obj = registry.objects.get(key)
            if obj is not None:
                yield obj
