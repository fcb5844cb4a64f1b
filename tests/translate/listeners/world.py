"""A registry made of YAML, and the listeners that a proxy in it gets, without the compiler between."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import yaml
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.engine.recording import query
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.model.proxy_class import GatewayClass, ProxyClass
from controlplane.model.side import Side
from controlplane.registry.listener_settings import ListenerSettings, SettingsKey, listener_settings
from controlplane.registry.store import Registry, View
from controlplane.registry.workloads import classify
from controlplane.snapshots import Resource
from controlplane.translate.listeners.gateway import GatewayScope, gateway_listener, gateway_listener_keys
from controlplane.translate.listeners.inbound import inbound_listeners
from controlplane.translate.listeners.outbound import outbound_listener, outbound_listener_keys
from controlplane.watchers.reading import read


class World:
    """One registry; ``listeners`` are those of one proxy, by name."""

    def __init__(self, text: str = "", environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self.registry = Registry(environment=environment, frontends=FRONTENDS)
        if text:
            self.apply(text)

    def apply(self, text: str) -> None:
        """Store the objects of a YAML text; all of them must be good."""
        reading = read(text.encode(), "world.yaml")
        assert not reading.rejections, reading.rejections
        self.registry.memo.invalidate(self.registry.apply(ChangeSet(upserts=tuple(reading.objects.values()))))

    def proxy_class(self, proxy: Proxy) -> ProxyClass:
        return self.registry.memo.get(classify, proxy)

    def resources(self, proxy: Proxy) -> dict[str, Resource]:
        """Return the listeners of a proxy as resources, by name."""
        return {resource.name: resource for resource in self.registry.memo.get(_listeners, self.proxy_class(proxy))}

    def listeners(self, proxy: Proxy) -> dict[str, Listener]:
        """Return the listeners of a proxy, by name."""
        return {name: Listener.FromString(resource.body) for name, resource in self.resources(proxy).items()}


@query
def _listeners(view: View, held: ProxyClass) -> tuple[Resource, ...]:
    if isinstance(held, GatewayClass):
        scope = GatewayScope(held.client, held.targets)
        made = [gateway_listener(view, key) for key in gateway_listener_keys(view, scope)]
        return tuple(resource for resource in made if resource is not None)
    made = [outbound_listener(view, key) for key in outbound_listener_keys(view, held.client)]
    return (*(resource for resource in made if resource is not None), *inbound_listeners(view, held.inbound))


def mesh_yaml(mesh: str) -> str:
    """Return the ConfigMap with this mesh configuration."""
    meta = {"name": "istio", "namespace": "istio-system"}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"mesh": mesh}})


def settings_of(mesh: str = "", side: Side = Side.OUTBOUND) -> ListenerSettings:
    """Return what the listeners of one side take of a mesh configuration."""
    return World(mesh_yaml(mesh)).registry.memo.get(listener_settings, SettingsKey(side))


def sidecar(namespace: str = "default", ip: str = "10.9.0.1", **more: Any) -> Proxy:
    """Return a sidecar's proxy, with metadata and labels as a node gives them; ``istio=False`` is a stock Envoy."""
    version = "1.27.0" if more.pop("istio", True) else ""
    return Proxy(
        "sidecar", f"app.{namespace}", (ip,), namespace, f"{namespace}.svc.cluster.local", istio_version=version, **more
    )


def gateway(namespace: str = "default", ip: str = "10.9.0.9", **more: Any) -> Proxy:
    """Return a gateway's proxy."""
    version = "1.27.0" if more.pop("istio", True) else ""
    labels = more.pop("labels", {"istio": "ingressgateway"})
    return Proxy(
        "router",
        f"gateway.{namespace}",
        (ip,),
        namespace,
        f"{namespace}.svc.cluster.local",
        labels=labels,
        istio_version=version,
        **more,
    )


def chains(listener: Listener) -> list[Any]:
    """Return the filter chains of a listener, the default one last."""
    held = list(listener.filter_chains)
    return [*held, listener.default_filter_chain] if listener.HasField("default_filter_chain") else held


def leads_to(chain: Any) -> str:
    """Return where a chain leads: ``tcp:<cluster>``, ``rds:<name>`` or ``http:<cluster>`` for an inline route."""
    last = chain.filters[-1]
    if last.name == "envoy.filters.network.tcp_proxy":
        proxy = TcpProxy.FromString(last.typed_config.value)
        weighted = ",".join(f"{each.name}={each.weight}" for each in proxy.weighted_clusters.clusters)
        return f"tcp:{proxy.cluster or weighted}"
    manager = connection_manager(chain)
    if manager.HasField("rds"):
        return f"rds:{manager.rds.route_config_name}"
    return f"http:{manager.route_config.virtual_hosts[0].routes[0].route.cluster}"


def connection_manager(chain: Any) -> HttpConnectionManager:
    """Return the connection manager at the end of a chain."""
    return HttpConnectionManager.FromString(chain.filters[-1].typed_config.value)
