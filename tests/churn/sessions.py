"""The proxies of the churn: they come, refuse, stop reading, break off and come back with what they had."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from difflib import unified_diff
from typing import Any

import grpc.aio
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from google.protobuf import json_format
from google.rpc.status_pb2 import Status

from controlplane.model.proxy import Locality, Proxy
from tests.compiler.histories import PROXIES, ZONES
from tests.feature.client import CDS, DECODED, EDS, EFFECTS, RDS, Client, Held, Variant, stream

LOCALITIES = (Locality(), *map(Locality.parse, ZONES))
DIFFERENT_LINES = 20
REMEMBERED = 10
"""Responses that are shown where something is wrong with the last."""
REFUSAL = Status(code=3, message="refused by the churn")  # INVALID_ARGUMENT, which Envoy sends


class ChurnClient(Client):
    """A proxy that can be told to refuse the next response of a type, and to stop reading.

    What it no longer asks for may be on its way to it still; as Envoy does, it takes no notice of that.
    """

    def __init__(self, variant: Variant, call: Any, node: Node, known: Held | None = None) -> None:
        """Prepare it; see ``Client``."""
        super().__init__(variant, call, node, known)
        self.refuses: set[str] = set()
        #: types of which it lacks something, as it refused it
        self.lacks: set[str] = set()
        self.reads = asyncio.Event()
        self.reads.set()
        self.recent: deque[str] = deque(maxlen=REMEMBERED)
        #: resources that came again in the version that it had
        self.repeated = 0
        self._once_asked_for: set[tuple[str, str]] = set()

    @property
    def settled(self) -> bool:
        """Whether it knows its clusters, and has all that they and its listeners refer to."""
        effects = (EDS, RDS)
        return CDS in self.responses and all(self._wanted(url) == set(self.held[url]) for url in effects)

    async def _take(self, response: Any) -> None:
        await self.reads.wait()
        url = response.type_url
        self.recent.append(_summary(response, refused=url in self.refuses))
        if url in self.refuses:
            await self._refuse(response)
            return
        await super()._take(response)
        if self._variant is Variant.SOTW and url in EFFECTS:
            self.lacks.discard(url)  # each response has all of the type
        if url in EFFECTS.values():
            self.held[url] = {name: body for name, body in self.held[url].items() if name in self._subscribed[url]}

    async def _refuse(self, response: Any) -> None:
        url = response.type_url
        self.refuses.discard(url)
        self.lacks.add(url)
        self._nonces.add(response.nonce)
        self.responses.append(url)
        await self._ask(url, nonce=response.nonce, refusal=REFUSAL)

    async def _subscribe(self, url: str) -> None:
        self._once_asked_for.update((url, name) for name in self._wanted(url))
        await super()._subscribe(url)

    def _asked_for(self, url: str, name: str) -> bool:
        return (url, name) in self._once_asked_for

    def _may_come_again(self, url: str, name: str) -> bool:
        """Tolerate it, and count: what was gone for a moment, or was refused, comes again."""
        self.repeated += not super()._may_come_again(url, name)
        return True


def _summary(response: Any, *, refused: bool) -> str:
    """Return a line for a response: when it came, its type, names with versions, what it removes."""
    if isinstance(response, DeltaDiscoveryResponse):
        names = [f"{resource.name}@{resource.version[:6]}" for resource in response.resources]
        names += [f"-{name}" for name in response.removed_resources]
    else:
        names = [f"{len(response.resources)} resources @{response.version_info[:6]}"]
    word = "refused " if refused else ""
    return f"{time.monotonic():.2f} {word}{response.type_url.rpartition('.')[2]}: {', '.join(names)}"


class Session:
    """One proxy with its connection. ``client`` is there after ``open``."""

    def __init__(self, proxy: Proxy, variant: Variant) -> None:
        """Prepare it; nothing is connected before ``open``."""
        self.proxy = proxy
        self.variant = variant
        self.client: ChurnClient
        self._channel: Any = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, address: str, known: Held | None = None) -> None:
        """Connect, with what an earlier connection had."""
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own, as each Envoy has
        self._channel = grpc.aio.insecure_channel(address, options=options)
        call = stream(self._channel, self.variant)()
        self.client = ChurnClient(self.variant, call, node(self.proxy), known)
        self._task = asyncio.create_task(self.client.run())

    async def close(self) -> None:
        """Break off, at whatever was going on; raise what had gone wrong."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._channel.close()
        self.client.check()


def random_session(rng: random.Random) -> Session:
    """Return a proxy out of a few hundred, so that classes are shared, end and come again, and ids are there twice."""
    proxy = rng.choice(PROXIES)
    labels = {**proxy.labels, **rng.choice([{}, {"version": "v1"}, {"version": "v2"}])}
    metadata = {**proxy.metadata, **rng.choice([{}, {"DNS_CAPTURE": "true"}])}
    proxy = replace(proxy, labels=labels, metadata=metadata, locality=rng.choice(LOCALITIES))
    return Session(proxy, rng.choice(list(Variant)))


def node(proxy: Proxy) -> Node:
    """Return what a proxy says of itself."""
    metadata = {
        **{key: str(value) for key, value in proxy.metadata.items()},
        "NAMESPACE": proxy.namespace,
        "LABELS": dict(proxy.labels),
        "ISTIO_VERSION": proxy.istio_version,
    }
    said = Node(id=f"{proxy.type}~{proxy.ips[0]}~{proxy.id}~{proxy.domain}")
    json_format.ParseDict(metadata, said.metadata)
    said.locality.region, said.locality.zone, said.locality.sub_zone = proxy.locality
    return said


def differences(kept: Client, fresh: Client, *, versions: bool) -> list[str]:
    """Say where a proxy has other resources than one that a new control plane serves.

    ``versions`` are compared too where each resource has one of its own.
    """
    found = []
    for url in DECODED:
        left, right = (_comparable(client.held[url], versions=versions) for client in (kept, fresh))
        for name in sorted(left.keys() | right.keys()):
            if left.get(name) != right.get(name):
                new, old = _text(url, right.get(name)), _text(url, left.get(name))
                lines = list(unified_diff(new, old, "new", "kept", n=2, lineterm=""))[:DIFFERENT_LINES]
                found.append("\n".join([f"{url.rpartition('.')[2]} {name} differs", *lines]))
    return found


def _text(url: str, held: tuple[str, bytes] | None) -> list[str]:
    """Return a resource as lines; none where there is none."""
    return [] if held is None else [f"version {held[0]}", *str(DECODED[url].FromString(held[1])).splitlines()]


def _comparable(held: Mapping[str, tuple[str, bytes]], *, versions: bool) -> dict[str, tuple[str, bytes]]:
    return {name: (version if versions else "", body) for name, (version, body) in held.items()}
