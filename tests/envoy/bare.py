"""An Envoy that no agent starts: its bootstrap, and the process.

Listeners, clusters, routes and endpoints come over one ADS stream. No setting of istio-proxy's own build is used, so a
stock Envoy takes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from controlplane.agent.addresses import Address, TcpAddress
from controlplane.agent.binary import envoy_binary
from samples.process import ChildProcess

Json = dict[str, Any]

XDS_CLUSTER = "xds-grpc"
SDS_CLUSTER = "sds-grpc"
HTTP_CONNECTION_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
NOWHERE = TcpAddress("127.0.0.1", 9)
"""Where nothing listens, for an Envoy that asks nobody."""

_HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_READY_TIMEOUT = timedelta(seconds=30)
_ADMIN_TIMEOUT = aiohttp.ClientTimeout(total=10)


def node(kind: str, name: str, namespace: str, labels: Mapping[str, str] | None = None) -> Json:
    """Return ``envoy.config.core.v3.Node`` of a pod; ``kind`` is ``sidecar`` or ``router``."""
    return {
        "id": f"{kind}~10.0.0.1~{name}.{namespace}~{namespace}.svc.cluster.local",
        "cluster": f"{name}.{namespace}",
        "metadata": {"NAMESPACE": namespace, "NAME": name, "LABELS": dict(labels or {})},
    }


def bootstrap(
    proxy: Json, control_plane: Address = NOWHERE, secrets: Address = NOWHERE, admin: Address = NOWHERE, *, delta: bool
) -> Json:
    """Return a bootstrap: who the proxy is, and where the control plane and its secret server are, in plain text."""
    from_ads = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    return {
        "node": proxy,
        "admin": {"address": _address(admin)},
        "dynamic_resources": {
            "lds_config": from_ads,
            "cds_config": from_ads,
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
            },
        },
        "static_resources": {
            "clusters": [_grpc_cluster(XDS_CLUSTER, control_plane), _grpc_cluster(SDS_CLUSTER, secrets)],
            "listeners": [],
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "bootstrap",
                    "static_layer": {
                        "re2.max_program_size.error_level": 32768,
                        "envoy.reloadable_features.http_reject_path_with_fragment": False,
                    },
                },
                {"name": "admin", "admin_layer": {}},
            ]
        },
    }


def _address(where: Address) -> Json:
    if isinstance(where, TcpAddress):
        return {"socket_address": {"address": where.host, "port_value": where.port}}
    return {"pipe": {"path": str(where)}}


def _grpc_cluster(name: str, where: Address) -> Json:
    return {
        "name": name,
        "alt_stat_name": f"{name};",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(where)}}]}],
        },
        "typed_extension_protocol_options": {
            _HTTP_PROTOCOL_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_PROTOCOL_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }


class BareEnvoy:
    """One Envoy process; bootstrap, log and the socket of its admin interface are in ``folder``."""

    def __init__(self, settings: Json, folder: Path) -> None:
        """Write the bootstrap, with an admin interface; nothing runs before ``start``."""
        self._admin = folder / "admin.sock"
        path = folder / "envoy.json"
        path.write_text(json.dumps({**settings, "admin": {"address": _address(self._admin)}}), encoding="utf-8")
        # One worker and no hot restart: several proxies share a machine. Draining at once lets them end quickly.
        command = [str(envoy_binary()), "-c", str(path), "--log-level", "info", "--concurrency", "1"]
        command += ["--disable-hot-restart", "--drain-strategy", "immediate", "--drain-time-s", "1"]
        self.process = ChildProcess("envoy", [*command, "--skip-deprecated-logs"], folder / "envoy.log")

    async def start(self) -> None:
        """Start it and wait until it serves its first listeners. Raises ``ProcessFailedError``."""
        await self.process.start()
        await self.process.wait_until(self._is_ready, _READY_TIMEOUT)

    async def stop(self) -> None:
        """End the process and wait for it."""
        await self.process.stop()

    async def rejected(self) -> Mapping[str, int]:
        """Return how many updates of each kind Envoy refused since it started; nothing when it took them all."""
        return {name: count for name, count in (await self.stats(r"update_rejected$")).items() if count}

    async def stats(self, pattern: str) -> Mapping[str, int]:
        """Return the counters and gauges whose names match a regular expression somewhere."""
        _, text = await self._ask(f"/stats?format=json&filter={quote(pattern)}")
        return {each["name"]: each["value"] for each in json.loads(text)["stats"] if isinstance(each.get("value"), int)}

    async def _is_ready(self) -> bool:
        try:
            status, _ = await self._ask("/ready")
        except (OSError, aiohttp.ClientError, TimeoutError):  # not listening yet
            return False
        return status == HTTPStatus.OK

    async def _ask(self, path: str) -> tuple[int, str]:
        connector = aiohttp.UnixConnector(str(self._admin))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_ADMIN_TIMEOUT) as session,
            session.get(f"http://envoy{path}") as response,
        ):
            return response.status, await response.text()
