"""A small configuration, as a real Envoy and as our own admin server hold it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

# Imported for their types: the filters below are written as JSON.
import envoy.extensions.filters.http.router.v3.router_pb2
import envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2
import envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2  # noqa: F401
from google.protobuf import json_format

from controlplane.plan.patches import MESSAGES
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.patience import PATIENCE_SECONDS

REVIEWS = "outbound|9080||reviews.shop.svc.cluster.local"
REVIEWS_V2 = "outbound|9080|v2|reviews.shop.svc.cluster.local"
INBOUND = "inbound|8080||"
NODE_ID = "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local"

_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_HCM = f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"
_TCP = f"{_FILTERS}.network.tcp_proxy.v3.TcpProxy"
_ROUTER = {"name": "router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}}


def _origin(kind: str, name: str) -> dict[str, Any]:
    config = f"/apis/networking.istio.io/v1alpha3/namespaces/shop/{kind}/{name}"
    return {"filter_metadata": {"istio": {"config": config}}}


def _file(path: Path) -> dict[str, Any]:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": host, "port_value": port}}}


def _tcp(cluster: str) -> dict[str, Any]:
    return {"name": "tcp", "typed_config": {"@type": _TCP, "stat_prefix": "tcp", "cluster": cluster}}


def _http(**routes: Any) -> dict[str, Any]:
    return {
        "name": "http",
        "typed_config": {"@type": _HCM, "stat_prefix": "http", "http_filters": [_ROUTER], **routes},
    }


def _eds(folder: Path, index: int) -> dict[str, Any]:
    return {"eds_config": _file(folder / f"eds-{index}.json")}


def _rds(folder: Path, index: int, name: str) -> dict[str, Any]:
    return {"config_source": _file(folder / f"rds-{index}.json"), "route_config_name": name}


def clusters(folder: Path) -> list[dict[str, Any]]:
    return [
        {"name": REVIEWS, "type": "EDS", "eds_cluster_config": _eds(folder, 0), "connect_timeout": "10s"},
        {
            "name": REVIEWS_V2,
            "type": "EDS",
            "eds_cluster_config": _eds(folder, 1),
            "metadata": _origin("destination-rule", "reviews"),
        },
        {"name": "PassthroughCluster", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"},
        {
            "name": INBOUND,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": INBOUND,
                "endpoints": [{"lb_endpoints": [{"endpoint": _address("127.0.0.1", 8080)}]}],
            },
        },
    ]


def load_assignments() -> list[dict[str, Any]]:
    members = [
        {
            "endpoint": _address("10.0.0.7", 9080),
            "load_balancing_weight": 1,
            "metadata": {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}},
        },
        {"endpoint": _address("10.0.0.6", 9080), "health_status": "UNHEALTHY", "load_balancing_weight": 3},
    ]
    zone = {"region": "r1", "zone": "z1"}
    return [
        {
            "cluster_name": REVIEWS,
            "endpoints": [{"locality": zone, "lb_endpoints": members, "load_balancing_weight": 4}],
        },
        {"cluster_name": REVIEWS_V2, "endpoints": [{"locality": zone, "lb_endpoints": members[:1]}]},
    ]


def routes() -> list[dict[str, Any]]:
    to_reviews = {"cluster": REVIEWS}
    return [
        {
            "name": "9080",
            "virtual_hosts": [
                {
                    "name": "reviews.shop.svc.cluster.local:9080",
                    "domains": [
                        "reviews.shop.svc.cluster.local",
                        "reviews",
                        "reviews.shop.svc",
                        "reviews.shop",
                        "10.96.0.9",
                        "reviews:9080",
                    ],
                    "routes": [
                        {
                            "match": {"path": "/exact"},
                            "route": {"cluster": REVIEWS_V2},
                            "metadata": _origin("virtual-service", "reviews"),
                        },
                        {"match": {"prefix": "/"}, "route": to_reviews},
                    ],
                },
                {
                    "name": "allow_any",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "PassthroughCluster"}}],
                },
            ],
        },
        {"name": "80", "virtual_hosts": [{"name": "blackhole:80", "domains": ["*"]}]},
    ]


def listeners(folder: Path) -> list[dict[str, Any]]:
    """Return listeners that are not bound, so that tests need no port."""
    inline = {
        "name": "inbound",
        "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": INBOUND}}]}
        ],
    }
    loose = {"bind_to_port": False}
    return [
        {
            "name": "0.0.0.0_9080",
            **_address("0.0.0.0", 9080),
            **loose,
            "filter_chains": [
                {
                    "filters": [_http(rds=_rds(folder, 0, "9080"))],
                    "filter_chain_match": {"application_protocols": ["http/1.1", "h2c"]},
                }
            ],
            "default_filter_chain": {"filters": [_tcp("PassthroughCluster")]},
        },
        {
            "name": "0.0.0.0_80",
            **_address("0.0.0.0", 80),
            **loose,
            "filter_chains": [{"filters": [_http(rds=_rds(folder, 1, "80"))]}],
        },
        {
            "name": "10.96.0.3_3306",
            **_address("10.96.0.3", 3306),
            **loose,
            "filter_chains": [{"filters": [_tcp(REVIEWS)]}],
        },
        {
            "name": "virtualInbound",
            **_address("0.0.0.0", 15006),
            **loose,
            "listener_filters": [
                {
                    "name": "tls",
                    "typed_config": {"@type": f"{_FILTERS}.listener.tls_inspector.v3.TlsInspector"},
                }
            ],
            "filter_chains": [
                {
                    "name": "0.0.0.0_8080",
                    "filters": [_http(route_config=inline)],
                    "filter_chain_match": {
                        "destination_port": 8080,
                        "transport_protocol": "tls",
                        "server_names": ["reviews.shop"],
                        "prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
                    },
                },
            ],
        },
    ]


_MADE: dict[ResourceType, Callable[[Path], list[dict[str, Any]]]] = {
    ResourceType.CLUSTER: clusters,
    ResourceType.LISTENER: listeners,
    ResourceType.ROUTE: lambda _: routes(),
    ResourceType.ENDPOINT: lambda _: load_assignments(),
}
_ALL_IN_ONE = {ResourceType.CLUSTER: "cds", ResourceType.LISTENER: "lds"}
_ONE_EACH = {ResourceType.ROUTE: "rds", ResourceType.ENDPOINT: "eds"}  # Envoy wants a file to hold no other


def write(folder: Path) -> Path:
    """Write the resources as files that Envoy subscribes to, and return its bootstrap."""
    for type_, make in _MADE.items():
        resources = [{"@type": type_.value, **each} for each in make(folder)]
        if type_ in _ALL_IN_ONE:
            _write_response(folder / f"{_ALL_IN_ONE[type_]}.json", resources)
        else:
            for index, each in enumerate(resources):
                _write_response(folder / f"{_ONE_EACH[type_]}-{index}.json", [each])
    bootstrap = {
        "node": {"id": NODE_ID, "cluster": "web.shop"},
        "admin": _address("127.0.0.1", 0),
        "dynamic_resources": {
            "cds_config": _file(folder / "cds.json"),
            "lds_config": _file(folder / "lds.json"),
        },
        "static_resources": {"clusters": [{"name": "agent", "type": "STATIC", "connect_timeout": "1s"}]},
    }
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(bootstrap))
    return path


def _write_response(path: Path, resources: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps({"version_info": "1", "resources": resources}), encoding="utf-8")


def snapshot(folder: Path) -> Snapshot:
    """Return the same resources as the control plane would hold them."""
    every: dict[ResourceType, dict[str, Resource]] = {}
    for type_, make in _MADE.items():
        for each in make(folder):
            message = json_format.ParseDict(each, MESSAGES[type_]())
            name = each.get("name") or each["cluster_name"]
            body = message.SerializeToString(deterministic=True)
            every.setdefault(type_, {})[name] = Resource.of(type_, name, body)
    return Snapshot(7, every)


def envoy_binary() -> str | None:
    """Return the Envoy of this environment."""
    beside = Path(sys.executable).with_name("envoy")
    return str(beside) if beside.exists() else shutil.which("envoy")


@contextmanager
def running_envoy(binary: str, folder: Path) -> Iterator[str]:
    """Run an Envoy with the configuration and give its admin port as ``host:port``, once it is live."""
    bootstrap, address_file, log = write(folder), folder / "admin.txt", folder / "envoy.log"
    arguments = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [binary, "-c", str(bootstrap), "--admin-address-path", str(address_file), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _live(process, address_file, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _live(process: subprocess.Popen[bytes], address_file: Path, log: Path) -> str:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if address_file.exists() and (address := address_file.read_text(encoding="utf-8")):
            host, _, port = address.rpartition(":")
            connection = HTTPConnection(host, int(port), timeout=30)
            try:
                connection.request("GET", "/ready")
                if connection.getresponse().status == 200:
                    return address
            except ConnectionError:
                pass  # the port is announced a moment before it answers
            finally:
                connection.close()
        time.sleep(0.05)
    raise AssertionError(f"Envoy did not become live:\n{log.read_text(encoding='utf-8')}")
