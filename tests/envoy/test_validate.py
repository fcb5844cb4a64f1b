"""The validator itself: what it lets pass, and that it sees a fault in each type."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf import json_format

from controlplane.snapshots import Resource, ResourceType
from tests.envoy.bare import HTTP_CONNECTION_MANAGER, ROUTER
from tests.envoy.validate import validate

MESSAGES = {
    ResourceType.CLUSTER: Cluster,
    ResourceType.ENDPOINT: ClusterLoadAssignment,
    ResourceType.LISTENER: Listener,
    ResourceType.ROUTE: RouteConfiguration,
}
ADS = {"ads": {}, "resource_api_version": "V3"}


def resource(type_: ResourceType, name: str, **fields: Any) -> Resource:
    """Return a resource from the JSON form of its message."""
    key = "cluster_name" if type_ is ResourceType.ENDPOINT else "name"
    message = json_format.ParseDict({key: name, **fields}, MESSAGES[type_]())
    return Resource.of(type_, name, message.SerializeToString())


def listener(route_name: str) -> Resource:
    """Return an HTTP listener that takes its routes over RDS."""
    manager = {
        "@type": HTTP_CONNECTION_MANAGER,
        "stat_prefix": "test",
        "rds": {"route_config_name": route_name, "config_source": ADS},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    return resource(
        ResourceType.LISTENER,
        "0.0.0.0_80",
        address={"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        filter_chains=[
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    )


def cluster(**fields: Any) -> Resource:
    """Return an EDS cluster."""
    eds = {"service_name": "web", "eds_config": ADS}
    return resource(ResourceType.CLUSTER, "web", type="EDS", eds_cluster_config=eds, connect_timeout="1s", **fields)


def routes(name: str, path: dict[str, Any]) -> Resource:
    """Return a route configuration with one route that matches ``path``."""
    host = {"name": "web:80", "domains": ["*"], "routes": [{"match": path, "route": {"cluster": "not here"}}]}
    return resource(ResourceType.ROUTE, name, virtual_hosts=[host])


def endpoints(weight: int) -> Resource:
    """Return a load assignment of one endpoint in a locality of this weight."""
    where = {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}
    locality = {"lb_endpoints": [where], "load_balancing_weight": weight, "locality": {"zone": "a"}}
    return resource(ResourceType.ENDPOINT, "web", endpoints=[locality])


def test_takes_what_envoy_takes() -> None:
    """A listener over RDS, its routes, a cluster over EDS and its endpoints; nothing at all."""
    assert validate([listener("80"), routes("80", {"prefix": "/"}), cluster(), endpoints(1)]) is None
    assert validate([]) is None


@pytest.mark.parametrize(
    ("resources", "word"),
    [
        pytest.param([listener("80"), routes("80", {"safe_regex": {"regex": "("}})], "missing )", id="inline-route"),
        pytest.param([routes("81", {"safe_regex": {"regex": "("}})], "missing )", id="route-without-listener"),
        pytest.param([cluster(lb_policy="CLUSTER_PROVIDED")], "cluster provided LB", id="cluster"),
        pytest.param([endpoints(0)], "LoadBalancingWeight", id="endpoints"),
        pytest.param([resource(ResourceType.LISTENER, "0.0.0.0_80")], "address is necessary", id="listener"),
    ],
)
def test_says_what_is_wrong(resources: list[Resource], word: str) -> None:
    """A fault in any type comes back in Envoy's own words."""
    assert word.lower() in (validate(resources) or "").lower()
