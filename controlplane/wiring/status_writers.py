"""Joins what is known of objects with the controllers that write it: to their status or, of nodes, to their taints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from kubernetes.aio.client import ApiClient

from controlplane import metrics
from controlplane.analysis.problems import Problems
from controlplane.controllers.addresses import Addresses
from controlplane.controllers.conditions import Conditions, Inputs
from controlplane.controllers.events import ObjectEvents, Told
from controlplane.controllers.ingress_status import IngressStatus
from controlplane.controllers.leader import ADDRESSES, EVENTS, INGRESS, STATUS, TAINTS
from controlplane.controllers.untaint import Untaint
from controlplane.registry.mesh import SYSTEM_NAMESPACE
from controlplane.registry.store import Registry
from controlplane.settings import Settings
from controlplane.watchers.kubernetes.broadcast import Broadcast
from controlplane.watchers.kubernetes.source import KubernetesSource
from controlplane.wiring.analysis import Broadcasts


class Writer(NamedTuple):
    """Work for one replica at a time, which goes on until it is cancelled; ``lease`` names what it must hold."""

    name: str
    lease: str
    work: Callable[[], Awaitable[None]]


def status_writers(
    source: KubernetesSource,
    registry: Registry,
    problems: Problems,
    broadcasts: Broadcasts,
    signals: Callable[[], None],
) -> tuple[Writer, ...]:
    """Return the writers; the source has its way to the cluster by now. ``signals`` is what an ``Operator`` needs."""
    client = source.client
    if client is None:
        return ()
    return (
        Writer("conditions", STATUS, partial(_write_conditions, source, problems, broadcasts.judged, client)),
        Writer("events", EVENTS, partial(_write_events, source, problems, broadcasts.judged, client)),
        Writer(
            "status of Ingresses",
            INGRESS,
            partial(_write_ingresses, source, registry, broadcasts.applied, client, signals),
        ),
        Writer(
            "automatic addresses", ADDRESSES, partial(_write_addresses, source, registry, broadcasts.applied, client)
        ),
    )


def taint_writers(source: KubernetesSource, settings: Settings, signals: Callable[[], None]) -> tuple[Writer, ...]:
    """Return what takes the taint off nodes whose agent is ready, where that is wanted; else nothing."""
    if source.client is None or not settings.untaint_nodes:
        return ()
    untaint = Untaint(source.client, settings.cni_namespace or SYSTEM_NAMESPACE, signals=signals)
    return (Writer("taints of nodes", TAINTS, untaint.run),)


async def _write_conditions(source: KubernetesSource, problems: Problems, judged: Broadcast, client: ApiClient) -> None:
    """Write what becomes of each object."""
    with source.statuses.subscribe() as changed, judged.subscribe(changed):
        inputs = Inputs(
            received=source.received,
            find=source.find,
            in_force=problems.in_force,
            findings=lambda: problems.told,
            changed=changed,
        )
        await Conditions(client, inputs, tell=metrics.count_condition).run()


async def _write_events(source: KubernetesSource, problems: Problems, judged: Broadcast, client: ApiClient) -> None:
    """Write what is wrong with each object, for those who describe it."""
    with source.statuses.subscribe() as changed, judged.subscribe(changed):
        await ObjectEvents(client, Told(problems.each, source.find, changed)).run()


async def _write_ingresses(
    source: KubernetesSource, registry: Registry, applied: Broadcast, client: ApiClient, signals: Callable[[], None]
) -> None:
    """Write where Ingresses are reached."""
    with source.statuses.subscribe() as changed, applied.subscribe(changed):
        await IngressStatus(client, registry, source.find, changed, signals=signals).run()


async def _write_addresses(source: KubernetesSource, registry: Registry, applied: Broadcast, client: ApiClient) -> None:
    """Write the automatic addresses of ServiceEntries."""
    with source.statuses.subscribe() as changed, applied.subscribe(changed):
        await Addresses(client, registry, source.find, changed).run()
