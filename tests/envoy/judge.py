"""What a real Envoy says of thousands of listeners or clusters, each judged by itself, in one run of some seconds.

An Envoy reads them from files (LDS, CDS) as it starts, takes what it can and logs a reason for each of the others.
``envoy --mode validate`` ends at the first fault.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.message import Message

from controlplane.agent.binary import envoy_binary
from controlplane.apis.envoy_filter import ApplyTo
from controlplane.patches.messages import decode
from controlplane.snapshots import Resource, ResourceType
from tests.envoy.bare import HTTP_CONNECTION_MANAGER, ROUTER, bootstrap, node

Json = dict[str, Any]

_REFUSED = re.compile(r"(?:listener|cluster) '(?P<name>[^']*)' config rejected: (?P<reason>[^\n]*)")
#: one of the resources, it is not said which, made Envoy refuse all of them
_WHOLE = re.compile(r"config update rejected: (?!Error adding/updating )(?P<reason>[^\n]*)")
_LAST = "the last one"
#: any of these says that everything has been judged
_DONE = (f"'{_LAST}'", "cds: added/updated", "config update rejected", "starting main dispatch loop")


def refused_listeners(listeners: Iterable[Json]) -> dict[str, str]:
    """Return the reasons by name of listeners in JSON; absent is what Envoy takes.

    Names must differ, and so must the addresses.
    """
    return _refused([decode(ApplyTo.LISTENER, each).message for each in listeners], "lds")


def refused(resources: Sequence[Resource]) -> dict[int, str]:
    """Return the reasons by position of resources that Envoy refuses; of each type it may be many of one name.

    Secrets, extensions and name tables are not looked at. Each is given a name and an address of its own, so what two
    resources may not have in common is not seen.
    """
    listeners: list[Message] = []
    clusters: list[Message] = []
    for position, resource in enumerate(resources):
        name = f"number {position}"
        match resource.type:
            case ResourceType.CLUSTER:
                cluster = Cluster.FromString(resource.body)
                cluster.name = name
                clusters.append(cluster)
            case ResourceType.ENDPOINT:
                clusters.append(_cluster_of(name, ClusterLoadAssignment.FromString(resource.body)))
            case ResourceType.LISTENER:
                listeners.append(_elsewhere(name, position, Listener.FromString(resource.body)))
            case ResourceType.ROUTE:
                listeners.append(_listener_of(name, RouteConfiguration.FromString(resource.body)))
            case _:
                pass
    found = _refused(listeners, "lds") | _refused(clusters, "cds")
    return {int(name.removeprefix("number ")): reason for name, reason in found.items()}


def _cluster_of(name: str, assignment: ClusterLoadAssignment) -> Cluster:
    cluster = Cluster(name=name, type=Cluster.STATIC, load_assignment=assignment)
    cluster.connect_timeout.seconds = 1
    return cluster


def _elsewhere(name: str, position: int, listener: Listener) -> Listener:
    """Move a listener to where no other one is."""
    listener.name = name
    listener.bind_to_port.value = False
    listener.ClearField("transparent")  # it takes rights, and Envoy crashes where nothing is bound
    if listener.address.WhichOneof("address") == "socket_address":
        place = listener.address.socket_address
        place.address = f"127.{1 + position // 65536}.{position // 256 % 256}.{position % 256}"
        place.port_value = place.port_value or 1
    else:
        listener.address.pipe.path = f"@{position}"
    del listener.additional_addresses[:]
    return listener


def _listener_of(name: str, routes: RouteConfiguration) -> Listener:
    """Return a listener that exists only to have a route configuration checked."""
    manager = HttpConnectionManager(stat_prefix="judge", route_config=routes)
    manager.route_config.validate_clusters.value = False
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(Router())
    listener = Listener(name=name)
    listener.address.pipe.path = f"@{name}"
    listener.bind_to_port.value = False
    chain = listener.filter_chains.add()
    chain.filters.add(name="envoy.filters.network.http_connection_manager").typed_config.Pack(manager)
    return listener


def _nowhere_else(resource: Any, position: int) -> None:
    """Move a listener from an abstract socket to one that no other process has: Envoy binds it in any case."""
    if isinstance(resource, Listener) and resource.address.pipe.path.startswith("@"):
        resource.address.pipe.path = f"@judge {os.getpid()} {position}"


def _last_one() -> Message:
    return decode(ApplyTo.LISTENER, routed(_LAST)).message


def _refused(resources: Sequence[Message], kind: str) -> dict[str, str]:
    """Give resources of one kind (``lds``, ``cds``) to an Envoy; where it refuses all for one, halves of them."""
    if not resources:
        return {}
    with tempfile.TemporaryDirectory(prefix="judge-") as name:
        directory = Path(name)
        response = DiscoveryResponse(version_info="1")
        for position, each in enumerate((*resources, *([_last_one()] if kind == "lds" else ()))):
            _nowhere_else(each, position)
            response.resources.add().Pack(each)
        (directory / "resources.pb").write_bytes(response.SerializeToString())
        settings = bootstrap(node("sidecar", "judge", "default"), delta=True)
        source = {"path_config_source": {"path": str(directory / "resources.pb")}, "resource_api_version": "V3"}
        del settings["admin"]
        settings["dynamic_resources"] = {
            **{name: value for name, value in settings["dynamic_resources"].items() if name == "ads_config"},
            f"{kind}_config": source,
        }
        settings["static_resources"]["clusters"].append({"name": "c", "type": "STATIC", "connect_timeout": "1s"})
        (directory / "bootstrap.json").write_text(json.dumps(settings))
        said = _started(directory / "bootstrap.json")
    found = {match["name"]: match["reason"] for match in _REFUSED.finditer(said)}
    whole = _WHOLE.search(said)
    if whole is None and any(done in said for done in _DONE):
        return found
    if len(resources) == 1:
        (only,) = resources
        return {str(getattr(only, "name", "")): whole["reason"] if whole is not None else said[-500:]}
    half = len(resources) // 2
    return _refused(resources[:half], kind) | _refused(resources[half:], kind)


def _started(settings: Path) -> str:
    """Start an Envoy, end it as soon as it has read its configuration, and return its log."""
    command = [str(envoy_binary()), "-c", str(settings), "--concurrency", "1", "--disable-hot-restart", "-l", "info"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, errors="replace"
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if any(done in line for done in _DONE):
                break
        process.terminate()
        lines.append(process.stderr.read())
    return "".join(lines)


def http_listener(name: str, **manager: Any) -> Json:
    """Return a listener that reads HTTP, with these fields of its connection manager."""
    config = {
        "@type": HTTP_CONNECTION_MANAGER,
        "stat_prefix": "judge",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        **manager,
    }
    return listener(name, [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}])


def listener(name: str, filters: list[Json], **fields: Any) -> Json:
    """Return a listener that binds nothing, with one chain of these filters."""
    return {
        "name": name,
        "address": {"pipe": {"path": f"@{name}"}},
        "bind_to_port": False,
        "filter_chains": [{"filters": filters}],
        **fields,
    }


def routed(name: str, **route: Any) -> Json:
    """Return a listener with one route of these fields."""
    whole: Mapping[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "c"}} | route
    return http_listener(
        name, route_config={"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [whole]}]}
    )
