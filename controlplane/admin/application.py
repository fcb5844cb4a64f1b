"""The HTTP application of the monitoring port.

| path | result |
|---|---|
| ``/metrics`` | Prometheus text |
| ``/ready`` | 200 when proxies are served, else 503 with the reason |
| ``/healthz`` | 200 while the event loop runs |
| ``/load`` | JSON for other replicas: the name of this one, its proxies and its weight; 503 as ``/ready`` |
| ``/version`` | text: the version of Istio that is followed, then the program's and its name, between dashes |
| ``/debug`` | the list of debug endpoints |
| ``/debug/...`` | JSON; loopback callers only |

``?pretty`` indents JSON; ``?limit=N`` gives long lists in pages, see ``paging``. A path with doubled slashes, as
`istioctl version` asks for, leads to the same without; the body of a 404 is the one by which `istioctl x
internal-debug` knows that there is no such page.

Answers that may be long are made and sent in slices, see ``pace``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog
from aiohttp import web

from controlplane import ISTIO_VERSION, metrics
from controlplane.admin.access import is_loopback, is_of_another_site, names_this_machine
from controlplane.admin.answers import BODIES, NOT_CONNECTED, PACE, SOURCES
from controlplane.admin.answers import json_answer as _json
from controlplane.admin.answers import paged as _paged
from controlplane.admin.answers import streamed as _streamed
from controlplane.admin.connections_view import connections_view, watches_view
from controlplane.admin.dumps import config_dump, ecdsz, edsz
from controlplane.admin.feeds_view import feeds_view
from controlplane.admin.json_text import Items, Members, Value
from controlplane.admin.metrics_page import metrics_page
from controlplane.admin.pace import Pace, Pause
from controlplane.admin.paging import BadPageError
from controlplane.admin.questions import explain, plan
from controlplane.admin.registry_view import (
    endpoint_view,
    registry_view,
    rejected_order,
    rejected_view,
    service_order,
)
from controlplane.admin.scopes import scopes, set_level
from controlplane.admin.sources import AdminSources, find_connection
from controlplane.admin.sync_view import SyncView, sync_order
from controlplane.admin.tasks_view import tasks_view
from controlplane.http1.bodies import Bodies, room_of_questions
from controlplane.model.manifest import manifest, manifest_order

log = structlog.get_logger()

PROGRAM = "controlplane"
GUARDED = ("/debug/", "/api/", "/ui")
"""Beginnings of the paths that tell of the mesh."""
NO_PAGE = "404 page not found\n"
NOT_LOOPBACK = "Debug endpoints answer callers on loopback only.\n"
OTHER_HOST = "Debug endpoints answer requests for localhost or a loopback address only; this one's Host is another.\n"
OTHER_SITE = "Debug endpoints do not answer on behalf of other sites; open the address by itself.\n"

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(sources: AdminSources) -> web.Application:
    """Return the application of the monitoring port."""
    slashes = web.normalize_path_middleware(append_slash=False, merge_slashes=True)
    app = web.Application(middlewares=[_errors, _access, slashes])
    app[SOURCES] = sources
    app[PACE] = Pace()
    app[BODIES] = Bodies(room_of_questions(sources.limits), sources.reached)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/ready", _ready)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/version", _version)
    app.router.add_get("/load", _load)
    app.router.add_get("/debug", _index)
    for path, (respond, _) in DEBUG_ENDPOINTS.items():
        add = app.router.add_post if path == PLAN else app.router.add_get
        add(path, respond)
    app.router.add_post(EXPLAIN, plan)  # by what an Envoy holds, which is posted as a change of objects is
    app.router.add_put(SCOPES + "/{scope}", set_level)
    return app


def ready_application(sources: AdminSources) -> web.Application:
    """Return the application of the port of readiness: of all pages, those that tell nothing of anybody."""
    app = web.Application(middlewares=[_errors])
    app[SOURCES] = sources
    app.router.add_get("/ready", _ready)
    app.router.add_get("/healthz", _healthz)
    return app


@web.middleware
async def _access(request: web.Request, handler: Respond) -> web.StreamResponse:
    if request.path.startswith(GUARDED):
        if not is_loopback(request.remote):
            return web.Response(status=401, text=NOT_LOOPBACK)
        if not names_this_machine(request.headers.get("Host")):
            return web.Response(status=403, text=OTHER_HOST)
        if is_of_another_site(request.headers):
            return web.Response(status=403, text=OTHER_SITE)
    return await handler(request)


@web.middleware
async def _errors(request: web.Request, handler: Respond) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text=NO_PAGE)
    except BadPageError as error:
        return web.Response(status=400, text=f"{error}\n")
    except (web.HTTPException, asyncio.CancelledError, ConnectionError):
        raise
    except Exception:  # a bug of ours: told to the caller and logged, the other endpoints go on
        log.exception("admin.failed", path=request.path)
        return web.Response(status=500, text="Internal error; the log of the control plane says more.\n")


async def _metrics(request: web.Request) -> web.StreamResponse:
    page = metrics_page(request.app[SOURCES])
    return await _streamed(request, page, {"Content-Type": metrics.CONTENT_TYPE})


async def _ready(request: web.Request) -> web.Response:
    ready, reason = request.app[SOURCES].ready()
    return web.Response(status=200 if ready else 503, text="" if ready else f"{reason}\n")


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _version(request: web.Request) -> web.Response:
    return web.Response(text=f"{ISTIO_VERSION}-{request.app[SOURCES].version}-{PROGRAM}")


async def _load(request: web.Request) -> web.StreamResponse:
    sources = request.app[SOURCES]
    if not sources.ready()[0]:
        return await _ready(request)
    load = sources.load()
    return await _json(request, {"replica": sources.identity, "proxies": load.proxies, "weight": load.weight})


async def _index(_request: web.Request) -> web.Response:
    lines = [f"{path}\n    {text}\n" for path, (_, text) in DEBUG_ENDPOINTS.items()]
    return web.Response(text="".join(lines))


async def _syncz(request: web.Request) -> web.StreamResponse:
    sources = request.app[SOURCES]
    namespace, proxy_id = request.query.get("namespace", ""), request.query.get("proxyID", "")
    proxies = sources.proxies()
    if proxy_id:
        found = find_connection(proxies, proxy_id)
        if found is None:
            return web.Response(status=404, text=NOT_CONNECTED)
        proxies = {found: proxies[found]}
    connected = (each for each in proxies.items() if namespace in {"", each[1].namespace})
    shown, headers = await _paged(request, connected, sync_order)
    view = SyncView(sources, whole=bool(proxy_id))
    return await _json(request, Items(view.elements(each for each, _ in shown)), headers)


async def _connections(request: web.Request) -> web.StreamResponse:
    shown, headers = await _paged(request, request.app[SOURCES].proxies(), lambda each: (each,))
    total = len(request.app[SOURCES].proxies())
    return await _clients(request, total, connections_view(request.app[SOURCES], shown), headers)


async def _adsz(request: web.Request) -> web.StreamResponse:
    sources = request.app[SOURCES]
    ids = list(sources.proxies())
    if proxy_id := request.query.get("proxyID", ""):
        found = find_connection(sources.proxies(), proxy_id)
        if found is None:
            return web.Response(status=404, text=NOT_CONNECTED)
        ids = [found]
    shown, headers = await _paged(request, ids, lambda each: (each,))
    return await _clients(request, len(ids), watches_view(sources, shown), headers)


async def _clients(
    request: web.Request, total: int, clients: Iterable[Value | Pause], headers: dict[str, str]
) -> web.StreamResponse:
    """Answer with connections, and how many there are in all."""
    return await _json(request, Members((("totalClients", total), ("clients", Items(clients)))), headers)


async def _clusterz(request: web.Request) -> web.StreamResponse:
    sources = request.app[SOURCES]
    state = "synced" if sources.ready()[0] else "syncing"
    return await _json(request, [{"id": sources.cluster_id, "secretName": "", "syncStatus": state}])


async def _list(request: web.Request) -> web.StreamResponse:
    return await _json(request, sorted(path.removeprefix("/debug/") for path in DEBUG_ENDPOINTS if path != LIST))


async def _registryz(request: web.Request) -> web.StreamResponse:
    sources = request.app[SOURCES]
    services, headers = await _paged(request, sources.services(), service_order)
    return await _json(request, Items(registry_view(services, sources.cluster_id)), headers)


async def _endpointz(request: web.Request) -> web.StreamResponse:
    sources = request.app[SOURCES]
    services, headers = await _paged(request, sources.services(), service_order)
    return await _json(request, Members(endpoint_view(services, sources.endpoints, sources.cluster_id)), headers)


async def _configz(request: web.Request) -> web.StreamResponse:
    from controlplane.patches.published_manifest import published_manifest  # noqa: PLC0415 - as with ``config_dump``

    objects, headers = await _paged(request, request.app[SOURCES].objects(), manifest_order)
    return await _json(request, Items(published_manifest(manifest(obj)) for obj in objects), headers)


async def _rejectedz(request: web.Request) -> web.StreamResponse:
    rejected, headers = await _paged(request, request.app[SOURCES].rejected(), rejected_order)
    return await _json(request, Items(rejected_view(rejected)), headers)


async def _feedz(request: web.Request) -> web.StreamResponse:
    return await _json(request, feeds_view(request.app[SOURCES]))


async def _taskz(request: web.Request) -> web.StreamResponse:
    return await _json(request, tasks_view(request.app[SOURCES]))


LIST, PLAN, SCOPES = "/debug/list", "/debug/plan", "/debug/scopej"
EXPLAIN = "/debug/explain"
DEBUG_ENDPOINTS: dict[str, tuple[Respond, str]] = {
    "/debug/syncz": (_syncz, "What each proxy was sent, acknowledged and refused; ?namespace=, ?proxyID="),
    "/debug/connections": (_connections, "Connected proxies"),
    "/debug/adsz": (_adsz, "Connected proxies, what they say of themselves and what they subscribe to; ?proxyID="),
    "/debug/registryz": (_registryz, "Services"),
    "/debug/endpointz": (_endpointz, "Endpoints by service"),
    "/debug/endpointShardz": (_endpointz, "The same, by istiod's newer name"),
    "/debug/configz": (_configz, "Istio's objects that are in force"),
    "/debug/rejectedz": (_rejectedz, "Objects that were refused, and why"),
    "/debug/feedz": (
        _feedz,
        "How what is read of a cluster stands, kind by kind, and since when its API server is away",
    ),
    "/debug/taskz": (_taskz, "What does not work, and how the tasks are doing that are begun again when they fail"),
    "/debug/config_dump": (config_dump, "What a proxy should hold; ?proxyID=, &types=CDS,LDS, &include_eds"),
    "/debug/edsz": (edsz, "The endpoints that a proxy should hold; ?proxyID="),
    "/debug/ecdsz": (ecdsz, "The extensions that a proxy should hold; ?proxyID="),
    EXPLAIN: (
        explain,
        (
            "What becomes of a request; ?from=pod/NAMESPACE/NAME, &method=, &url=, &header=; or of an object; ?object=;"
            " POST of JSON with what an Envoy holds, as `controlplane explain --live` sends it"
        ),
    ),
    PLAN: (plan, "What a change of objects would do; POST of JSON, as `controlplane plan` sends it"),
    "/debug/clusterz": (_clusterz, "The Kubernetes clusters that are read: one, and whether it has been read"),
    SCOPES: (scopes, "The levels of the log, by scope; PUT of a level to .../SCOPE, as `controlplane admin log` does"),
    LIST: (_list, "The names of all these"),
}
"""Path -> what answers it and what it shows."""
