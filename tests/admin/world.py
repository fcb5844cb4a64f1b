"""One small world as the rest of the program would describe it to the monitoring port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.admin.json_text import Value, pieces
from controlplane.admin.pace import Pause
from controlplane.admin.server import AdminServer
from controlplane.admin.sources import AdminSources, Read, Take
from controlplane.ads.sync_status import ProxyStatus, Rejection, Sync, TypeStatus
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey, Rejected
from controlplane.model.proxy import Locality, Proxy
from controlplane.model.service import Endpoint, Protocol, Resolution, Service, ServiceKey, ServicePort
from controlplane.simulate.questions import UnansweredError, WrongQuestionError
from controlplane.snapshots import Resource, ResourceType, Snapshot

REVIEWS = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "reviews")
GATEWAY = ObjectKey(kinds.GATEWAY, "shop", "edge")
REFUSAL = "Error adding/updating listener(s) 0.0.0.0_9080: error adding listener: no such filter\n"


def proxy(name: str, namespace: str = "shop", version: str = "1.27.0") -> Proxy:
    return Proxy(
        type="sidecar",
        id=f"{name}.{namespace}",
        ips=("10.0.0.5",),
        namespace=namespace,
        domain=f"{namespace}.svc.cluster.local",
        istio_version=version,
    )


def sent(sync: Sync, age: timedelta = timedelta(minutes=15), rejection: Rejection | None = None) -> TypeStatus:
    acked = sync is Sync.SYNCED
    return TypeStatus(
        sync=sync,
        sent_version="v2",
        acked_version="v2" if acked else "v1",
        sent_nonce="n2",
        acked_nonce="n2" if acked else "n1",
        sent_revision=7,
        acked_revision=7 if acked else 6,
        sent_at=datetime.now(UTC) - age,
        rejection=rejection,
    )


def status(
    name: str, types: Mapping[ResourceType, TypeStatus], namespace: str = "shop", version: str = "1.27.0"
) -> ProxyStatus:
    connected = datetime.now(UTC) - timedelta(minutes=4)
    who = proxy(name, namespace, version)
    return ProxyStatus(f"{who.id}-3", who, "127.0.0.1:40000", connected, types)


def refused() -> TypeStatus:
    return sent(Sync.ERROR, rejection=Rejection("v2", REFUSAL, datetime.now(UTC) - timedelta(seconds=20), "n2"))


def healthy() -> ProxyStatus:
    return status("web-1", {type_: sent(Sync.SYNCED) for type_ in ResourceType if type_ is not ResourceType.EXTENSION})


def troubled() -> ProxyStatus:
    return status(
        "api-1",
        {
            ResourceType.CLUSTER: sent(Sync.STALE, timedelta(hours=3, minutes=20)),
            ResourceType.LISTENER: refused(),
            ResourceType.ROUTE: TypeStatus(Sync.NOT_SENT, names=frozenset({"9080"})),
        },
        namespace="prod",
        version="",
    )


def service() -> Service:
    return Service(
        key=ServiceKey("reviews.shop.svc.cluster.local", ObjectKey(kinds.SERVICE, "shop", "reviews")),
        name="reviews",
        kubernetes=True,
        ports=(ServicePort(9080, "http", Protocol.HTTP),),
        resolution=Resolution.CLIENT_SIDE,
        age_order=("2026-01-02T03:04:05Z", "reviews", "shop"),
        addresses=("10.96.0.9",),
        selector={"app": "reviews"},
    )


def endpoint() -> Endpoint:
    return Endpoint(
        address="10.0.0.7",
        port=9080,
        port_name="http",
        labels={"app": "reviews"},
        locality=Locality("r1", "z1"),
        account="spiffe://cluster.local/ns/shop/sa/reviews",
        namespace="shop",
        workload="reviews",
    )


async def explain(asked: Sequence[tuple[str, str]]) -> dict[str, Any]:
    held = dict(asked)
    if "url" not in held:
        raise WrongQuestionError("url is needed")
    return {"asked": [list(pair) for pair in asked]}


async def plan(read: Read, take: Take) -> None:
    question = await read()
    if question == b"{}":
        raise WrongQuestionError("nothing changes")
    if question == b"[]":
        raise UnansweredError("took longer than 60 s")
    await take(question)


def sources(*statuses: ProxyStatus, snapshot: Snapshot | None = None) -> AdminSources:
    listener = Resource.of(ResourceType.LISTENER, "0.0.0.0_9080", b"")
    held = snapshot or Snapshot(7, {ResourceType.LISTENER: {listener.name: listener}})
    connected = {each.connection_id: each for each in statuses or (healthy(), troubled())}
    made_from = {(ResourceType.LISTENER, "0.0.0.0_9080"): (REVIEWS, GATEWAY)}
    return AdminSources(
        ready=lambda: (True, ""),
        proxies=lambda: {connection_id: each.proxy for connection_id, each in connected.items()},
        status=connected.get,
        snapshot=lambda connection: held if connection in connected else None,
        services=lambda: [service()],
        endpoints=lambda _: (endpoint(),),
        behind=lambda _, type_, name: made_from.get((type_, name), ()),
        explain=explain,
        plan=plan,
        rejected=lambda: [Rejected(REVIEWS, ("spec.http[0]: no destination",), "shop.yaml:12")],
        identity="istiod-0",
        version="0.1.0",
    )


def unready() -> AdminSources:
    return replace(sources(), ready=lambda: (False, "the first list of objects is not complete"))


def text(steps: Iterable[str | Pause]) -> str:
    """Return the whole of what is written in pieces."""
    return "".join(step for step in steps if not isinstance(step, Pause))


def shown(value: Value) -> Any:
    """Return a JSON value as whoever reads it has it."""
    return json.loads(text(pieces(value)))


@asynccontextmanager
async def serving(asked: AdminSources, *, ready_only: bool = False, parts: Sequence[str] = ()) -> AsyncIterator[str]:
    """Serve the monitoring port, or the one of readiness, on loopback and give its address."""
    server = AdminServer(asked, ready_only=ready_only, parts=parts)
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop()
