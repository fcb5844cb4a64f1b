"""Would a stock Envoy take these resources? Asked with ``envoy --mode validate``, which opens no port.

The resources become one static bootstrap: listeners with the route configurations they name put inline (Envoy would
otherwise only look at them when they arrive), clusters as they are, and each load assignment in a static cluster of
its own. What validation cannot see is whether they do the right thing; that is for tests with traffic.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap as BootstrapMessage
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from controlplane.agent.binary import envoy_binary
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.envoy.bare import NOWHERE, bootstrap, node

TIMEOUT = timedelta(seconds=180)  # a validation takes 0.2 s; a busy machine may take long to start the process
_SAID_LINES = 3


def validate(resources: Snapshot | Iterable[Resource]) -> str | None:
    """Return Envoy's complaint about these resources, ``None`` when it would take them all.

    A route configuration that no listener names is checked in a listener made for it. Secrets, extensions and name
    tables are not looked at. Raises ``EnvoyNotFoundError`` without an Envoy.
    """
    with tempfile.TemporaryDirectory(prefix="validate-") as directory:
        path = Path(directory) / "resources.pb"
        path.write_bytes(_static(_all(resources)).SerializeToString(deterministic=True))
        command = [str(envoy_binary()), "--mode", "validate", "--log-level", "error"]
        command += ["-c", str(path), "--config-yaml", _surroundings()]  # Envoy merges the two
        result = subprocess.run(
            [*command, "--disable-hot-restart", "--concurrency", "1"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT.total_seconds(),
            check=False,
        )
    if result.returncode == 0:
        return None
    said = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    return "\n".join(said[-_SAID_LINES:]) or f"envoy ended with {result.returncode}"


def _all(resources: Snapshot | Iterable[Resource]) -> list[Resource]:
    if isinstance(resources, Snapshot):
        return [resource for of_type in resources.resources.values() for resource in of_type.values()]
    return list(resources)


def _surroundings() -> str:
    """Return the bootstrap of any sidecar, without asking a control plane for anything."""
    settings = bootstrap(node("sidecar", "validate", "default"), delta=True)
    for source in ("lds_config", "cds_config"):
        del settings["dynamic_resources"][source]
    return json.dumps(settings)


def _static(resources: list[Resource]) -> BootstrapMessage:
    """Return a bootstrap that holds these resources and nothing else."""
    message = BootstrapMessage()
    static = message.static_resources
    routes = {resource.name: resource for resource in resources if resource.type is ResourceType.ROUTE}
    named: set[str] = set()
    for resource in resources:
        if resource.type is ResourceType.LISTENER:
            named |= _put_routes_inline(static.listeners.add(), resource, routes)
        elif resource.type is ResourceType.CLUSTER:
            static.clusters.add().ParseFromString(resource.body)
        elif resource.type is ResourceType.ENDPOINT:
            cluster = static.clusters.add(name=f"endpoints of {resource.name}", type=Cluster.STATIC)
            cluster.connect_timeout.FromTimedelta(timedelta(seconds=1))
            cluster.load_assignment.ParseFromString(resource.body)
    for name in sorted(routes.keys() - named):
        _add_listener_for(static, routes[name])
    return message


def _put_routes_inline(listener: Any, resource: Resource, routes: dict[str, Resource]) -> set[str]:
    """Fill a listener, with the route configurations it names inside; return their names."""
    listener.ParseFromString(resource.body)
    named = set()
    for filter_ in _http_filters(listener):
        manager = HttpConnectionManager.FromString(filter_.typed_config.value)
        name = manager.rds.route_config_name
        if name in routes:
            _set_routes(filter_, manager, routes[name])
            named.add(name)
    return named


def _http_filters(listener: Listener) -> Iterator[Any]:
    chains = [*listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        for filter_ in chain.filters:
            if filter_.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                yield filter_


def _set_routes(filter_: Any, manager: HttpConnectionManager, routes: Resource) -> None:
    """Put the route configuration into the filter; its clusters may come later, as they may over RDS."""
    manager.route_config.ParseFromString(routes.body)
    manager.route_config.validate_clusters.value = False
    filter_.typed_config.Pack(manager)


def _add_listener_for(static: Any, routes: Resource) -> None:
    """Add a listener that exists only to have this route configuration checked."""
    listener = static.listeners.add(name=f"routes of {routes.name}")
    listener.address.socket_address.address = NOWHERE.host
    listener.address.socket_address.port_value = NOWHERE.port
    manager = HttpConnectionManager(stat_prefix="validate")
    filter_ = listener.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager")
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(Router())
    _set_routes(filter_, manager, routes)
