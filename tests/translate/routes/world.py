"""A registry fed with objects as users write them, and the route configurations it gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from zlib import crc32

import yaml
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.model.parse import Parsed
from controlplane.model.proxy_class import ClientScope, InboundTarget
from controlplane.registry.gateways import GatewayKey
from controlplane.registry.store import Registry
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.routes.gateway import MergedRouteKey, merged_route_configuration
from controlplane.translate.routes.sidecar import RouteKey, route_configuration
from controlplane.watchers.kinds import parse
from tests.kinds import kind_of

CLIENT = ClientScope("default", domain="default.svc.cluster.local")


def objects(text: str) -> tuple[Object, ...]:
    """Read YAML documents; a document that is refused fails the test."""
    found = []
    for document in yaml.safe_load_all(text):
        parsed = parse(document, "test")
        assert isinstance(parsed, Parsed), parsed
        found.append(parsed.object)
    return tuple(found)


def service(name: str, namespace: str = "default", ports: Iterable[int] = (80,), **more: Any) -> str:
    """Write a Kubernetes Service with HTTP ports; ``more`` goes into ``spec``."""
    number = crc32(f"{namespace}/{name}".encode())
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    spec = {"clusterIP": address, "ports": [{"name": f"http-{port}", "port": port} for port in ports], **more}
    return _written("v1", "Service", name, namespace, spec)


def virtual_service(name: str, spec: str, namespace: str = "default", created: str = "") -> str:
    """Write a VirtualService; ``spec`` is YAML."""
    return _written("networking.istio.io/v1", "VirtualService", name, namespace, yaml.safe_load(spec), created)


def istio(kind: str, name: str, spec: str, namespace: str = "default", created: str = "") -> str:
    """Write any object of ``networking.istio.io``; ``spec`` is YAML."""
    return _written("networking.istio.io/v1", kind, name, namespace, yaml.safe_load(spec), created)


def mesh(text: str) -> str:
    """Write the mesh configuration."""
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": text},
    }
    return str(yaml.safe_dump(document))


def _written(version: str, kind: str, name: str, namespace: str, spec: Any, created: str = "") -> str:
    metadata = {"name": name, "namespace": namespace}
    if created:
        metadata["creationTimestamp"] = created
    return str(yaml.safe_dump({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}))


class World:
    """One registry; objects go in, route configurations come out."""

    def __init__(self, *documents: str) -> None:
        self.registry = Registry(frontends=FRONTENDS)
        self.add(*documents)

    def add(self, *documents: str) -> None:
        """Store objects; those written before with the same name are replaced."""
        changes = ChangeSet(tuple(obj for text in documents for obj in objects(text)))
        self.registry.memo.invalidate(self.registry.apply(changes))

    def again(self) -> World:
        """Return a world with the same objects and nothing remembered."""
        world = World()
        world.registry.apply(ChangeSet(tuple(self.registry.objects.values())))
        return world

    def remove(self, kind: str, name: str, namespace: str = "default") -> None:
        """Drop an object."""
        changes = ChangeSet(deletes=(ObjectKey(kind_of(kind), namespace, name),))
        self.registry.memo.invalidate(self.registry.apply(changes))

    def resource(self, name: str = "80", client: ClientScope = CLIENT) -> Resource:
        """Return a sidecar's route configuration as it is sent."""
        return self.registry.memo.get(route_configuration, RouteKey(name, client))

    def routes(self, name: str = "80", client: ClientScope = CLIENT) -> RouteConfiguration:
        """Return a sidecar's route configuration, decoded."""
        return decoded(self.resource(name, client))

    def gateway_routes(
        self,
        name: str,
        namespace: str = "istio-system",
        labels: dict[str, str] | None = None,
        targets: tuple[InboundTarget, ...] = (),
    ) -> RouteConfiguration:
        """Return a gateway's route configuration, decoded."""
        pairs = frozenset((labels or {"istio": "ingressgateway"}).items())
        key = MergedRouteKey(name, GatewayKey(namespace, pairs, targets))
        return decoded(self.registry.memo.get(merged_route_configuration, key))

    def only_route(self, host: str = "reviews.default.svc.cluster.local:80", name: str = "80") -> Route:
        """Return the first route of a virtual host."""
        return virtual_host(self.routes(name), host).routes[0]


def decoded(resource: Resource) -> RouteConfiguration:
    """Decode a resource; its cluster names must be those of its routes."""
    out = RouteConfiguration.FromString(resource.body)
    named = set()
    for host in out.virtual_hosts:
        for route in host.routes:
            named.add(route.route.cluster)
            named.update(cluster.name for cluster in route.route.weighted_clusters.clusters)
            named.update(policy.cluster for policy in route.route.request_mirror_policies)
    assert resource.named(ResourceType.CLUSTER) == named - {""}
    assert out.name == resource.name
    return out


def client(namespace: str, **more: Any) -> ClientScope:
    """Return a sidecar of a namespace."""
    return replace(ClientScope(namespace, domain=f"{namespace}.svc.cluster.local"), **more)


def virtual_host(routes: RouteConfiguration, name: str) -> VirtualHost:
    """Return the virtual host of this name."""
    found = [host for host in routes.virtual_hosts if host.name == name]
    assert len(found) == 1, [host.name for host in routes.virtual_hosts]
    return found[0]


def names(routes: RouteConfiguration) -> list[str]:
    """Return the names of the virtual hosts in order."""
    return [host.name for host in routes.virtual_hosts]


def clusters(routes: RouteConfiguration, host: str) -> list[str]:
    """Return where the routes of a virtual host lead, in order."""
    return [route.route.cluster for route in virtual_host(routes, host).routes]


def plain(message: Message) -> Any:
    """Return a message as plain values with protobuf's field names."""
    return MessageToDict(message, preserving_proto_field_name=True)
