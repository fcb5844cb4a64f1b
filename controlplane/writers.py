"""Joins what is known of objects with the controllers that write it to their status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from kubernetes.aio.client import ApiClient

from controlplane import metrics
from controlplane.controllers.addresses import Addresses
from controlplane.controllers.conditions import Conditions, Inputs
from controlplane.controllers.ingress_status import IngressStatus
from controlplane.controllers.leader import ADDRESSES, INGRESS, STATUS
from controlplane.registry.findings import findings
from controlplane.registry.store import Registry
from controlplane.watchers.kubernetes.source import KubernetesSource

Writer = Callable[[ApiClient], Awaitable[None]]
"""Work that goes on until it is cancelled, for one replica at a time."""


def status_writers(source: KubernetesSource, registry: Registry) -> Mapping[str, Writer]:
    """Return the writers, each by the name of the Lease that its replica holds."""
    return {
        STATUS: partial(_write_conditions, source, registry),
        INGRESS: partial(_write_ingresses, source, registry),
        ADDRESSES: partial(_write_addresses, source, registry),
    }


async def _write_conditions(source: KubernetesSource, registry: Registry, client: ApiClient) -> None:
    """Write what becomes of each object."""
    with source.statuses.listen() as changed:
        inputs = Inputs(
            received=source.received,
            find=source.find,
            objects=registry.objects,
            findings=lambda: registry.memo.get(findings, ()) or (),
            changed=changed,
        )
        await Conditions(client, inputs, tell=metrics.count_condition).run()


async def _write_ingresses(source: KubernetesSource, registry: Registry, client: ApiClient) -> None:
    """Write where Ingresses are reached."""
    with source.statuses.listen() as changed:
        await IngressStatus(client, registry, source.find, changed).run()


async def _write_addresses(source: KubernetesSource, registry: Registry, client: ApiClient) -> None:
    """Write the automatic addresses of ServiceEntries."""
    with source.statuses.listen() as changed:
        await Addresses(client, registry, source.find, changed).run()
