"""Persistent sessions, by a cookie or a header that a service's label names."""

from __future__ import annotations

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSessionPerRoute
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState

from controlplane.model.proxy import Proxy
from controlplane.registry.environment import SESSIONS
from controlplane.snapshots import ResourceType, Snapshot
from tests.envoy.validate import validate
from tests.translate.clusters.world import snapshot
from tests.translate.listeners.world import connection_manager, gateway, sidecar

ON = {SESSIONS: "true"}
FILTER = "envoy.filters.http.stateful_session"


def service(name: str, number: int, labels: str = "") -> str:
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default, labels: {{{labels}}}}}
spec: {{clusterIP: 10.0.0.{number}, selector: {{app: {name}}}, ports: [{{name: http, port: 80}}]}}
"""


WORLD = (
    service("plain", 1)
    + service("cookie", 2, "istio.io/persistent-session: sid")
    + service("header", 3, "istio.io/persistent-session-header: x-sid")
    + """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: path, namespace: default, labels: {istio.io/persistent-session: 'sid:/p'}}
spec: {hosts: [path.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: nameless, namespace: default, labels: {istio.io/persistent-session: ':/p'}}
spec: {hosts: [nameless.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: default}
spec:
  hosts: [routed.com]
  gateways: [mesh, gw]
  http:
  - {match: [{uri: {exact: /plain}}], route: [{destination: {host: plain}}]}
  - {match: [{uri: {exact: /header}}], route: [{destination: {host: header}}]}
  - {match: [{uri: {exact: /first}}],
     route: [{destination: {host: plain}, weight: 1}, {destination: {host: cookie}, weight: 1},
             {destination: {host: header}, weight: 1}]}
  - {match: [{uri: {exact: /redirect}}], redirect: {uri: /x}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""
)


def kept(part: Route | VirtualHost) -> str:
    """Return what keeps a client: the cookie with its path, the header, or nothing."""
    if FILTER not in part.typed_per_filter_config:
        return ""
    found = StatefulSessionPerRoute.FromString(part.typed_per_filter_config[FILTER].value)
    state = found.stateful_session.session_state
    if state.name.endswith("cookie"):
        cookie = CookieBasedSessionState.FromString(state.typed_config.value).cookie
        return f"cookie {cookie.name} {cookie.path}"
    return f"header {HeaderBasedSessionState.FromString(state.typed_config.value).name}"


def hosts(held: Snapshot, name: str) -> dict[str, VirtualHost]:
    found = RouteConfiguration.FromString(held.of(ResourceType.ROUTE)[name].body).virtual_hosts
    return {host.name: host for host in found}


def filters(held: Snapshot) -> dict[str, set[bool]]:
    """Return, by listener, whether its connection managers have the filter."""
    found: dict[str, set[bool]] = {}
    for name, resource in held.of(ResourceType.LISTENER).items():
        for chain in Listener.FromString(resource.body).filter_chains:
            if chain.filters[-1].name.endswith("http_connection_manager"):
                names = [each.name for each in connection_manager(chain).http_filters]
                found.setdefault(name, set()).add(FILTER in names)
                assert names[-1] == "envoy.filters.http.router"
    return found


def test_a_sidecar_keeps_sessions_of_services() -> None:
    held = snapshot(WORLD, sidecar(labels={"app": "cookie"}, istio=False), ON)
    found = {name: kept(host) for name, host in hosts(held, "80").items()}
    assert found["plain.default.svc.cluster.local:80"] == ""
    assert found["cookie.default.svc.cluster.local:80"] == "cookie sid /"
    assert found["header.default.svc.cluster.local:80"] == "header x-sid"
    assert found["path.com:80"] == "cookie sid /p"
    assert found["nameless.com:80"] == ""  # Envoy would refuse it, and all that is beside it
    assert found["routed.com:80"] == ""
    assert filters(held) == {"0.0.0.0_80": {True}, "virtualInbound": {False}}
    assert validate(held) is None


@pytest.mark.parametrize(
    ("proxy", "name"), [(sidecar(istio=False), "80"), (gateway(istio=False), "http.80")], ids=["sidecar", "gateway"]
)
def test_routes_keep_those_of_the_first_destination_that_has_any(proxy: Proxy, name: str) -> None:
    held = snapshot(WORLD, proxy, ON)
    (routed,) = (host for key, host in hosts(held, name).items() if key.startswith("routed.com"))
    assert [kept(route) for route in routed.routes] == ["", "header x-sid", "cookie sid /", ""]
    assert validate(held) is None


@pytest.mark.parametrize("proxy", [sidecar(), gateway()], ids=["sidecar", "gateway"])
def test_without_the_variable_labels_do_nothing_to_routes(proxy: Proxy) -> None:
    held = snapshot(WORLD, proxy)
    assert not any(True in found for found in filters(held).values())
    for resource in held.of(ResourceType.ROUTE).values():
        assert FILTER.encode() not in resource.body
