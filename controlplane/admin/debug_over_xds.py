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
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qsl, urlencode

from google.protobuf.any_pb2 import Any as AnyMessage

from controlplane.admin.application import DUMPED, NOT_COMPILED, NOT_CONNECTED, find_connection
from controlplane.admin.sources import AdminSources
from controlplane.ads.credential import Credential
from controlplane.ads.debug import PREFIX, DebugAnswer
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.sync_status import ProxyStatus, Sync
from controlplane.snapshots import ResourceType, Snapshot

SYNCZ, CONFIG_DUMP = f"{PREFIX}/syncz", f"{PREFIX}/config_dump"
EVERYBODYS = frozenset({"config_dump", "ndsz", "edsz"})
"""Pages that callers of other namespaces may see, of their own proxies."""

_Named = tuple[str, AnyMessage]
Fetch = Callable[[str], Awaitable[bytes]]
"""Returns the body of a page of the monitoring port: path and query without ``/debug/``."""


class DebugOverXds:
    """Answers for one control plane; ``system_namespace`` is the one whose callers may see everything."""

    def __init__(self, sources: AdminSources, fetch: Fetch, system_namespace: str) -> None:
        self._sources = sources
        self._fetch = fetch
        self._system_namespace = system_namespace

    async def __call__(self, type_url: str, names: Sequence[str], credential: Credential) -> DebugAnswer:
        """Answer one request; see ``ads.debug.Debug``."""
        viewer = credential.namespace
        if viewer is None:
            raise StreamRefused(Refusal.UNAUTHENTICATED, "authentication required")
        if type_url == SYNCZ:
            return self._answer(self._sync(viewer))
        if len(names) != 1:
            raise StreamRefused(Refusal.INVALID, f"{type_url} takes exactly one name, and {len(names)} were given")
        if type_url == CONFIG_DUMP:
            return self._answer(await self._config_dump(names[0], viewer))
        if type_url == PREFIX:
            return self._answer([await self._page(names[0], viewer)])
        raise StreamRefused(Refusal.INVALID, f"{type_url} is not known; {SYNCZ}, {CONFIG_DUMP} and {PREFIX} are")

    def _visible(self, viewer: str) -> list[ProxyStatus]:
        everything = viewer == self._system_namespace
        return [s for s in self._sources.connections() if everything or s.proxy.namespace == viewer]

    def _answer(self, resources: Sequence[_Named]) -> DebugAnswer:
        """Say beside the resources which instance answers: `istioctl` asks them all and keeps answers by ``ID``."""
        sources = self._sources
        identifier = {"Component": "istiod", "ID": sources.identity, "Info": {"version": sources.version}}
        return DebugAnswer(resources, json.dumps(identifier))

    def _sync(self, viewer: str) -> list[_Named]:
        shown = sorted(self._visible(viewer), key=lambda status: (status.proxy.cluster_id, status.proxy.id))
        return [(each.proxy.id, _client_config(each)) for each in shown]

    async def _config_dump(self, proxy_id: str, viewer: str) -> list[_Named]:
        status = find_connection(self._visible(viewer), proxy_id)
        snapshot = self._sources.snapshot(status.connection_id) if status is not None else None
        if snapshot is None:
            text = NOT_CONNECTED if status is None else NOT_COMPILED
            return [(proxy_id, AnyMessage(type_url=CONFIG_DUMP, value=text.encode()))]
        return [(proxy_id, part) for part in await asyncio.to_thread(_dump_parts, snapshot)]

    async def _page(self, page: str, viewer: str) -> _Named:
        asked = page if viewer == self._system_namespace else self._own(page, viewer)
        return page, AnyMessage(type_url=PREFIX, value=await self._fetch(asked) if asked else NOT_CONNECTED.encode())

    def _own(self, page: str, viewer: str) -> str:
        """Return the page as it may be asked for on behalf of a namespace; empty where its proxy is not of it."""
        path, _, query = page.partition("?")
        if path not in EVERYBODYS:
            allowed = ", ".join(sorted(EVERYBODYS))
            raise StreamRefused(Refusal.FORBIDDEN, f"callers of the namespace {viewer} may see {allowed} only")
        asked = dict(parse_qsl(query, keep_blank_values=True))
        if not asked.get("proxyID"):
            return path  # which says what is missing
        status = find_connection(self._visible(viewer), asked["proxyID"])
        return f"{path}?{urlencode(asked | {'proxyID': status.connection_id})}" if status is not None else ""


def _dump_parts(snapshot: Snapshot) -> list[AnyMessage]:
    """Return the parts of a dump, of which ``istioctl`` compares clusters, listeners and routes."""
    from envoy.admin.v3.config_dump_pb2 import ConfigDump  # noqa: PLC0415 - Envoy's messages load slowly
    from google.protobuf.json_format import ParseDict  # noqa: PLC0415

    from controlplane.admin.config_dump import config_dump  # noqa: PLC0415

    types = set(DUMPED.values()) - {ResourceType.ENDPOINT}
    return list(ParseDict(config_dump(snapshot, types), ConfigDump()).configs)


def _client_config(status: ProxyStatus) -> AnyMessage:
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
    packed = AnyMessage()
    packed.Pack(config)
    return packed
