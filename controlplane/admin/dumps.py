"""What a proxy should hold: configuration dumps, as istiod's debug pages have them."""

from __future__ import annotations

from aiohttp import web

from controlplane.admin.answers import NOT_COMPILED, NOT_CONNECTED, SOURCES, json_answer
from controlplane.admin.sources import find_connection
from controlplane.snapshots import ResourceType

NO_PROXY_ID = "You must provide a proxyID in the query string\n"
DUMPED = {
    "CDS": ResourceType.CLUSTER,
    "EDS": ResourceType.ENDPOINT,
    "LDS": ResourceType.LISTENER,
    "RDS": ResourceType.ROUTE,
    "SDS": ResourceType.SECRET,
    "ECDS": ResourceType.EXTENSION,
}
"""What ``?types=`` of a configuration dump may name."""


async def config_dump(request: web.Request) -> web.StreamResponse:
    """Show what is asked for by ``?types=``."""
    asked = {name for name in request.query.get("types", "").upper().split(",") if name}
    return await _dumped(request, asked)


async def edsz(request: web.Request) -> web.StreamResponse:
    """Show endpoints."""
    return await _dumped(request, {"EDS"})


async def ecdsz(request: web.Request) -> web.StreamResponse:
    """Show extensions."""
    return await _dumped(request, {"ECDS"})


async def _dumped(request: web.Request, asked: set[str]) -> web.StreamResponse:
    """Answer with what a proxy should hold of these types, of all without any."""
    from controlplane.admin.config_dump import config_dump as dump  # noqa: PLC0415 - loaded by ``server``, in a thread

    sources = request.app[SOURCES]
    proxy_id = request.query.get("proxyID", "")
    if not proxy_id:
        return web.Response(status=400, text=NO_PROXY_ID)
    if asked - DUMPED.keys():
        return web.Response(
            status=400, text=f"?types= may name {', '.join(DUMPED)}, and not {', '.join(sorted(asked))}\n"
        )
    connection_id = find_connection(sources.proxies(), proxy_id)
    if connection_id is None:
        return web.Response(status=404, text=NOT_CONNECTED)
    snapshot = sources.snapshot(connection_id)
    if snapshot is None:
        return web.Response(status=404, text=NOT_COMPILED)
    types = {DUMPED[name] for name in asked} or set(DUMPED.values()) - {ResourceType.ENDPOINT}
    if "include_eds" in request.query:
        types.add(ResourceType.ENDPOINT)
    return await json_answer(request, dump(snapshot, types))
