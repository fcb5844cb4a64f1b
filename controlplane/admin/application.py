"""The HTTP application of the monitoring port.

| path | result |
|---|---|
| ``/metrics`` | Prometheus text |
| ``/ready`` | 200 when proxies are served, else 503 with the reason |
| ``/healthz`` | 200 while the event loop runs |
| ``/version`` | text |
| ``/debug`` | the list of debug endpoints |
| ``/debug/...`` | JSON; loopback callers only |

``?pretty`` indents JSON. A path with doubled slashes, as `istioctl version` asks for, leads to the same without; the
body of a 404 is the one by which `istioctl x internal-debug` knows that there is no such page.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address
from typing import Any

import structlog
from aiohttp import web

from controlplane import metrics
from controlplane.admin.connections_view import connections_view, watches_view
from controlplane.admin.feeds_view import feeds_view
from controlplane.admin.metrics_page import MetricsPage
from controlplane.admin.registry_view import endpoint_view, registry_view, rejected_view
from controlplane.admin.sources import AdminSources
from controlplane.admin.sync_view import sync_view
from controlplane.ads.sync_status import ProxyStatus
from controlplane.snapshots import ResourceType, Snapshot

log = structlog.get_logger()

SOURCES = web.AppKey("sources", AdminSources)
PAGE = web.AppKey("page", MetricsPage)

NO_PAGE = "404 page not found\n"
NO_PROXY_ID = "You must provide a proxyID in the query string\n"
NOT_CONNECTED = "Proxy not connected to this Pilot instance. It may be connected to another instance.\n"
NOT_COMPILED = "Nothing has been compiled for this proxy yet.\n"

DUMPED = {
    "CDS": ResourceType.CLUSTER,
    "EDS": ResourceType.ENDPOINT,
    "LDS": ResourceType.LISTENER,
    "RDS": ResourceType.ROUTE,
    "SDS": ResourceType.SECRET,
    "ECDS": ResourceType.EXTENSION,
}
"""What ``?types=`` of a configuration dump may name."""

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(sources: AdminSources) -> web.Application:
    """Return the application of the monitoring port."""
    slashes = web.normalize_path_middleware(append_slash=False, merge_slashes=True)
    app = web.Application(middlewares=[_errors, _access, slashes])
    app[SOURCES] = sources
    app[PAGE] = MetricsPage(sources)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/ready", _ready)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/version", _version)
    app.router.add_get("/debug", _index)
    for path, (respond, _) in DEBUG_ENDPOINTS.items():
        app.router.add_get(path, respond)
    return app


def is_loopback(peer: str | None) -> bool:
    """Whether a caller's address is this machine's own; a caller without an address is not trusted."""
    try:
        address = ip_address((peer or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


@web.middleware
async def _access(request: web.Request, handler: Respond) -> web.StreamResponse:
    if request.path.startswith("/debug/") and not is_loopback(request.remote):
        return web.Response(status=401, text="Debug endpoints answer callers on loopback only.\n")
    return await handler(request)


@web.middleware
async def _errors(request: web.Request, handler: Respond) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text=NO_PAGE)
    except (web.HTTPException, asyncio.CancelledError, ConnectionError):
        raise
    except Exception:  # a bug of ours: told to the caller and logged, the other endpoints go on
        log.exception("admin.failed", path=request.path)
        return web.Response(status=500, text="Internal error; the log of the control plane says more.\n")


async def _metrics(request: web.Request) -> web.Response:
    page = request.app[PAGE].render()
    return web.Response(body=page, headers={"Content-Type": metrics.CONTENT_TYPE})


async def _ready(request: web.Request) -> web.Response:
    ready, reason = request.app[SOURCES].ready()
    return web.Response(status=200 if ready else 503, text="" if ready else f"{reason}\n")


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _version(request: web.Request) -> web.Response:
    return web.Response(text=request.app[SOURCES].version)


async def _index(_request: web.Request) -> web.Response:
    lines = [f"{path}\n    {text}\n" for path, (_, text) in DEBUG_ENDPOINTS.items()]
    return web.Response(text="".join(lines))


async def _syncz(request: web.Request) -> web.Response:
    return _json(request, sync_view(request.app[SOURCES], request.query.get("namespace", "")))


async def _connections(request: web.Request) -> web.Response:
    return _json(request, connections_view(request.app[SOURCES].connections()))


async def _adsz(request: web.Request) -> web.Response:
    statuses = list(request.app[SOURCES].connections())
    if proxy_id := request.query.get("proxyID", ""):
        status = find_connection(statuses, proxy_id)
        if status is None:
            return web.Response(status=404, text=NOT_CONNECTED)
        statuses = [status]
    return _json(request, watches_view(statuses))


async def _clusterz(request: web.Request) -> web.Response:
    sources = request.app[SOURCES]
    state = "synced" if sources.ready()[0] else "syncing"
    return _json(request, [{"id": sources.cluster_id, "secretName": "", "syncStatus": state}])


async def _list(request: web.Request) -> web.Response:
    return _json(request, sorted(path.removeprefix("/debug/") for path in DEBUG_ENDPOINTS if path != LIST))


async def _registryz(request: web.Request) -> web.Response:
    sources = request.app[SOURCES]
    return _json(request, registry_view(sources.services(), sources.cluster_id))


async def _endpointz(request: web.Request) -> web.Response:
    sources = request.app[SOURCES]
    return _json(request, endpoint_view(sources.endpoints(), sources.cluster_id))


async def _rejectedz(request: web.Request) -> web.Response:
    return _json(request, rejected_view(request.app[SOURCES].rejected()))


async def _feedz(request: web.Request) -> web.Response:
    return _json(request, feeds_view(request.app[SOURCES]))


async def _config_dump(request: web.Request) -> web.Response:
    asked = {name for name in request.query.get("types", "").upper().split(",") if name}
    return await _dumped(request, asked)


async def _edsz(request: web.Request) -> web.Response:
    return await _dumped(request, {"EDS"})


async def _ecdsz(request: web.Request) -> web.Response:
    return await _dumped(request, {"ECDS"})


async def _dumped(request: web.Request, asked: set[str]) -> web.Response:
    """Answer with what a proxy should hold of these types, of all without any."""
    sources = request.app[SOURCES]
    proxy_id = request.query.get("proxyID", "")
    if not proxy_id:
        return web.Response(status=400, text=NO_PROXY_ID)
    status = find_connection(list(sources.connections()), proxy_id)
    if status is None:
        return web.Response(status=404, text=NOT_CONNECTED)
    snapshot = sources.snapshot(status.connection_id)
    if snapshot is None:
        return web.Response(status=404, text=NOT_COMPILED)
    text = await asyncio.to_thread(_dump_text, snapshot, asked, "include_eds" in request.query, _indent(request))
    if text is None:
        return web.Response(
            status=400, text=f"?types= may name {', '.join(DUMPED)}, and not {', '.join(sorted(asked))}\n"
        )
    return web.Response(text=text, content_type="application/json")


def _dump_text(snapshot: Snapshot, asked: set[str], endpoints: bool, indent: int | None) -> str | None:  # noqa: FBT001
    """Return the dump as JSON, ``None`` if unknown types are asked for; off the event loop, it may take seconds."""
    from controlplane.admin.config_dump import config_dump  # noqa: PLC0415 - Envoy's messages load slowly

    if asked - DUMPED.keys():
        return None
    types = {DUMPED[name] for name in asked} or set(DUMPED.values()) - {ResourceType.ENDPOINT}
    if endpoints:
        types.add(ResourceType.ENDPOINT)
    return json.dumps(config_dump(snapshot, types), indent=indent) + "\n"


def find_connection(statuses: list[ProxyStatus], proxy_id: str) -> ProxyStatus | None:
    """Return the connection that is meant: by its id, else by its proxy's id, else by a part of its id.

    Of several, the one that connected last: a proxy that reconnects may still have its old stream.
    """
    for matches in (
        [status for status in statuses if status.connection_id == proxy_id],
        [status for status in statuses if status.proxy.id == proxy_id],
        [status for status in statuses if proxy_id in status.connection_id],
    ):
        if matches:
            return max(matches, key=lambda status: status.connected_at)
    return None


def _json(request: web.Request, value: Any) -> web.Response:  # noqa: ANN401 - any JSON value
    return web.Response(text=json.dumps(value, indent=_indent(request)) + "\n", content_type="application/json")


def _indent(request: web.Request) -> int | None:
    return 4 if "pretty" in request.query else None


LIST = "/debug/list"
DEBUG_ENDPOINTS: dict[str, tuple[Respond, str]] = {
    "/debug/syncz": (_syncz, "What each proxy was sent, acknowledged and refused; ?namespace="),
    "/debug/connections": (_connections, "Connected proxies"),
    "/debug/adsz": (_adsz, "Connected proxies, what they say of themselves and what they subscribe to; ?proxyID="),
    "/debug/registryz": (_registryz, "Services"),
    "/debug/endpointz": (_endpointz, "Endpoints by service"),
    "/debug/endpointShardz": (_endpointz, "The same, by istiod's newer name"),
    "/debug/rejectedz": (_rejectedz, "Objects that were refused, and why"),
    "/debug/feedz": (
        _feedz,
        "How what is read of a cluster stands, kind by kind, and since when its API server is away",
    ),
    "/debug/config_dump": (_config_dump, "What a proxy should hold; ?proxyID=, &types=CDS,LDS, &include_eds"),
    "/debug/edsz": (_edsz, "The endpoints that a proxy should hold; ?proxyID="),
    "/debug/ecdsz": (_ecdsz, "The extensions that a proxy should hold; ?proxyID="),
    "/debug/clusterz": (_clusterz, "The Kubernetes clusters that are read: one, and whether it has been read"),
    LIST: (_list, "The names of all these"),
}
"""Path -> what answers it and what it shows."""
