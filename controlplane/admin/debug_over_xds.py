"""What the debug endpoints tell, for tools that ask over xDS (`istioctl proxy-status`, `istioctl x internal-debug`).

| type URL | names | resources |
|---|---|---|
| ``istio.io/debug/syncz`` | - | a ``ClientConfig`` for each connected proxy |
| ``istio.io/debug/config_dump`` | one proxy | the parts of its configuration dump |
| ``istio.io/debug`` | one path and query | the body that the monitoring port answers with |
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from importlib import import_module
from urllib.parse import parse_qsl, urlencode

from google.protobuf.any_pb2 import Any as AnyMessage

from controlplane import ISTIO_VERSION
from controlplane.admin.answers import NOT_COMPILED, NOT_CONNECTED
from controlplane.admin.application import PROGRAM
from controlplane.admin.dumps import DUMPED
from controlplane.admin.pace import Pace, Pause, in_order
from controlplane.admin.sources import AdminSources, find_connection
from controlplane.ads.credential import Credential
from controlplane.ads.debug import PREFIX, DebugAnswer
from controlplane.ads.fields import packed
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.sync_status import ProxyStatus, Sync
from controlplane.model.proxy import Proxy
from controlplane.rope import Body
from controlplane.snapshots import ResourceType

SYNCZ, CONFIG_DUMP = f"{PREFIX}/syncz", f"{PREFIX}/config_dump"
EVERYBODYS = frozenset({"config_dump", "ndsz", "edsz"})
"""Pages that callers of other namespaces may see, of their own proxies."""

_DUMP = "controlplane.admin.config_dump"

_Named = tuple[str, Body]
Fetch = Callable[[str], Awaitable[Body]]
"""Returns the body of a page of the monitoring port: path and query without ``/debug/``."""


class DebugOverXds:
    """Answers for one control plane; ``system_namespace`` is the one whose callers may see everything."""

    def __init__(self, sources: AdminSources, fetch: Fetch, system_namespace: str) -> None:
        self._sources = sources
        self._fetch = fetch
        self._system_namespace = system_namespace
        self._pace = Pace()

    async def __call__(self, type_url: str, names: Sequence[str], credential: Credential) -> DebugAnswer:
        """Answer one request; see ``ads.debug.Debug``."""
        viewer = credential.namespace
        if viewer is None:
            raise StreamRefused(Refusal.UNAUTHENTICATED, "authentication required")
        if type_url == SYNCZ:
            return self._answer(await self._pace.gathered(self._sync(viewer)))
        if len(names) != 1:
            raise StreamRefused(Refusal.INVALID, f"{type_url} takes exactly one name, and {len(names)} were given")
        if type_url == CONFIG_DUMP:
            return self._answer(await self._config_dump(names[0], viewer))
        if type_url == PREFIX:
            return self._answer([await self._page(names[0], viewer)])
        raise StreamRefused(Refusal.INVALID, f"{type_url} is not known; {SYNCZ}, {CONFIG_DUMP} and {PREFIX} are")

    def _visible(self, viewer: str) -> Mapping[str, Proxy]:
        proxies = self._sources.proxies()
        if viewer == self._system_namespace:
            return proxies
        return {connection_id: proxy for connection_id, proxy in proxies.items() if proxy.namespace == viewer}

    def _answer(self, resources: Sequence[_Named]) -> DebugAnswer:
        """Say beside the resources which instance answers: `istioctl` asks them all and keeps answers by ``ID``."""
        sources = self._sources
        version = {"version": ISTIO_VERSION, "revision": sources.version, "status": PROGRAM}
        identifier = {"Component": "istiod", "ID": sources.identity, "Info": version}
        return DebugAnswer(resources, json.dumps(identifier))

    def _sync(self, viewer: str) -> Iterator[_Named | Pause]:
        for each in in_order(self._visible(viewer).items(), lambda each: (each[1].cluster_id, each[1].id)):
            if isinstance(each, Pause):
                yield each
            elif (status := self._sources.status(each[0])) is not None:
                yield status.proxy.id, _client_config(status)

    async def _config_dump(self, proxy_id: str, viewer: str) -> list[_Named]:
        connection_id = find_connection(self._visible(viewer), proxy_id)
        snapshot = self._sources.snapshot(connection_id) if connection_id is not None else None
        if snapshot is None:
            text = NOT_CONNECTED if connection_id is None else NOT_COMPILED
            return [(proxy_id, packed(CONFIG_DUMP, text.encode()))]
        await asyncio.to_thread(import_module, _DUMP)  # Envoy's messages load slowly
        from controlplane.admin.config_dump import config_dump_parts  # noqa: PLC0415

        parts = config_dump_parts(snapshot, set(DUMPED.values()) - {ResourceType.ENDPOINT})
        return [(proxy_id, part) for part in await self._pace.gathered(parts)]

    async def _page(self, page: str, viewer: str) -> _Named:
        asked = page if viewer == self._system_namespace else self._own(page, viewer)
        return page, packed(PREFIX, await self._fetch(asked) if asked else NOT_CONNECTED.encode())

    def _own(self, page: str, viewer: str) -> str:
        """Return the page as it may be asked for on behalf of a namespace; empty where its proxy is not of it."""
        path, _, query = page.partition("?")
        if path not in EVERYBODYS:
            allowed = ", ".join(sorted(EVERYBODYS))
            raise StreamRefused(Refusal.FORBIDDEN, f"callers of the namespace {viewer} may see {allowed} only")
        asked = dict(parse_qsl(query, keep_blank_values=True))
        if not asked.get("proxyID"):
            return path  # which says what is missing
        connection_id = find_connection(self._visible(viewer), asked["proxyID"])
        return f"{path}?{urlencode(asked | {'proxyID': connection_id})}" if connection_id is not None else ""


def _client_config(status: ProxyStatus) -> bytes:
    from envoy.service.status.v3 import csds_pb2  # noqa: PLC0415 - as above

    states = {
        Sync.SYNCED: csds_pb2.SYNCED,
        Sync.STALE: csds_pb2.STALE,
        Sync.ERROR: csds_pb2.ERROR,
        Sync.NOT_SENT: csds_pb2.NOT_SENT,
    }
    proxy = status.proxy
    config = csds_pb2.ClientConfig()
    config.node.id = proxy.id
    config.node.metadata.update(
        {"CLUSTER_ID": proxy.cluster_id, "NAMESPACE": proxy.namespace, "ISTIO_VERSION": proxy.istio_version}
    )
    for type_ in sorted(status.types, key=lambda each: each.value):
        entry = status.types[type_]
        shown = config.generic_xds_configs.add(type_url=type_.value, config_status=states[entry.sync])
        if entry.sent_at is not None:
            shown.last_updated.FromDatetime(entry.sent_at)
        if entry.rejection is not None:
            shown.error_state.details = entry.rejection.message
            shown.error_state.last_update_attempt.FromDatetime(entry.rejection.at)
    whole = AnyMessage()
    whole.Pack(config)
    return bytes(whole.SerializeToString())
