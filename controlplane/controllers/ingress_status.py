"""Writes to the status of the Ingresses that are ours where they are reached: the addresses of the ingress gateway.

Those are of the Service that ``ingressService`` of the mesh configuration names, in the system namespace; where it
names none, the external addresses of the nodes that run the gateway's pods. The status of an Ingress that is not ours,
or no longer, is left alone: it is somebody else's.
Reference: Istio's controller of the same purpose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from kubernetes.aio.client import ApiClient

from controlplane.controllers.ending import ended
from controlplane.controllers.json_patch import add, lock
from controlplane.controllers.operator import Body, Kind, Operator
from controlplane.controllers.status_writer import Counts, Pace, StatusWriter, Write
from controlplane.documents.words import is_ip
from controlplane.frontends.ingress import gateway_addresses, gateway_nodes, served_ingresses
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.status import Received
from controlplane.registry.store import Registry

RESOURCE = ("networking.k8s.io", "ingresses")
Balancer = tuple[tuple[str, str], ...]
"""Host names and IP addresses, one of each pair empty, in the order of ``status.loadBalancer.ingress``."""


class IngressStatus:
    """Keeps ``status.loadBalancer`` right while ``run`` runs, which may be cancelled and run again.

    Nodes are read only while no Service is named.
    """

    def __init__(  # noqa: PLR0913 - tests set the pace
        self,
        client: ApiClient,
        registry: Registry,
        find: Callable[[ObjectKey], Received | None],
        changed: asyncio.Event,
        *,
        signals: Callable[[], None],
        pace: Pace | None = None,
    ) -> None:
        """Prepare; ``find`` returns the newest version of an Ingress, ``changed`` is set when anything is another.

        ``signals`` is what an ``Operator`` needs.
        """
        self._registry = registry
        self._nodes: dict[str, tuple[str, ...]] = {}
        self._writer = StatusWriter(client, _Plan(registry, find, self._addresses), changed, pace)
        kind = Kind(("", "v1", "nodes"), _external, lambda _: changed.set(), known=self._nodes)
        self._operator = Operator(client, (kind,), signals)
        self._wanted, self._unwanted = asyncio.Event(), asyncio.Event()

    @property
    def counts(self) -> Counts:
        """What was done since the start."""
        return self._writer.counts

    async def run(self) -> None:
        """Write what differs until cancelled; for the leader alone."""
        memo = self._registry.memo
        memo.keep(served_ingresses, ())
        memo.keep(gateway_addresses, ())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._writer.run())
                group.create_task(self._follow_nodes())
        finally:
            memo.release(served_ingresses, ())
            memo.release(gateway_addresses, ())

    def _addresses(self) -> Iterable[str] | None:
        """Return where the gateway is reached; ``None`` while that is not known."""
        memo = self._registry.memo
        stated = memo.get(gateway_addresses, ())
        if stated is not None:
            self._wanted.clear()
            self._unwanted.set()
            return stated
        self._unwanted.clear()
        self._wanted.set()
        if not self._operator.complete:
            return None
        return [address for name in memo.get(gateway_nodes, ()) for address in self._nodes.get(name, ())]

    async def _follow_nodes(self) -> None:
        """Read nodes while they are wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            following = asyncio.create_task(self._operator.run())
            unwanted = asyncio.create_task(self._unwanted.wait())
            try:
                await asyncio.wait((following, unwanted), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await ended(following, unwanted)


class _Plan:
    """The addresses that should stand there."""

    def __init__(
        self,
        registry: Registry,
        find: Callable[[ObjectKey], Received | None],
        addresses: Callable[[], Iterable[str] | None],
    ) -> None:
        self.find = find
        self._registry = registry
        self._addresses = addresses
        self._served: tuple[tuple[Object, ...], frozenset[ObjectKey]] = ((), frozenset())

    def candidates(self) -> Iterator[Received]:
        """Yield the Ingresses that are ours."""
        for obj in self._registry.memo.get(served_ingresses, ()):
            if (received := self.find(obj.key)) is not None:
                yield received

    def write(self, received: Received) -> Write | None:
        """Return what makes the addresses right."""
        addresses = self._addresses()
        if addresses is None or not self._serves(received.key):
            return None
        wanted = balancer(addresses)
        if sorted(received.written.balancer) == list(wanted):
            return None
        entries = [{"hostname": host} if host else {"ip": address} for host, address in wanted]
        change = add("/status", {"loadBalancer": {"ingress": entries}})
        return Write(RESOURCE, [lock(received.resource_version), change], ", ".join(addresses) or "none")

    def _serves(self, key: ObjectKey) -> bool:
        """Whether an Ingress is still ours: it may have waited for its turn."""
        now = self._registry.memo.get(served_ingresses, ())
        if now is not self._served[0]:
            self._served = now, frozenset(obj.key for obj in now)
        return key in self._served[1]


def balancer(addresses: Iterable[str]) -> Balancer:
    """Return the entries for addresses and names, each once: IP addresses first, each in the order of their text."""
    return tuple(sorted(("", text) if is_ip(text) else (text, "") for text in set(addresses)))


def _external(node: Body) -> tuple[str, tuple[str, ...]]:
    """Return a node's name and its external IP addresses."""
    addresses = node["status"].get("addresses") or ()
    return node["metadata"]["name"], tuple(each["address"] for each in addresses if each["type"] == "ExternalIP")
