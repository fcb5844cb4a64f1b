"""Built resources and immutable snapshots of them, shared by every proxy of a class.

A ``Resource`` is bytes with a content-hash version; a ``Snapshot`` is what one proxy class should hold at one
registry revision. Nothing here parses an Envoy message.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class ResourceType(Enum):
    """A resource type of the xDS protocol; the value is its type URL. Declared in push order."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type URL
    EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    NAME_TABLE = "type.googleapis.com/istio.networking.nds.v1.NameTable"

    __hash__ = object.__hash__  # members are singletons: identity is enough, and several times faster

    @property
    def wildcard(self) -> bool:
        """Whether a client that names nothing gets everything. Reference: xDS protocol, "wildcard subscription"."""
        return self in {ResourceType.CLUSTER, ResourceType.LISTENER, ResourceType.NAME_TABLE}


@dataclass(frozen=True, slots=True)
class Resource:
    """One built Envoy resource.

    ``body`` is the serialised message (not wrapped in an Any), ``version`` a hash of it. ``clusters`` and
    ``route_configurations`` are the names this resource refers to, as its translator knows them: consistency
    and make-before-break never parse bytes. Two resources are equal when type, name and version are.
    """

    type: ResourceType
    name: str
    version: str
    body: bytes = field(compare=False, repr=False)
    clusters: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    route_configurations: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @classmethod
    def of(
        cls,
        type_: ResourceType,
        name: str,
        body: bytes,
        clusters: Iterable[str] = (),
        route_configurations: Iterable[str] = (),
    ) -> Resource:
        """Make a resource from its serialised message; the version is derived."""
        return cls(type_, name, content_version(body), body, frozenset(clusters), frozenset(route_configurations))


def content_version(body: bytes) -> str:
    """Return the version of these bytes: 8 characters, equal for equal content on every replica.

    48 bits are enough: a version is only ever compared with another one of the same resource.
    """
    digest = hashlib.blake2b(body, digest_size=6).digest()
    return base64.urlsafe_b64encode(digest).decode()


Resources = Mapping[str, Resource]
_NONE: Resources = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one proxy class should hold: resources by type and name, at registry ``revision``.

    The mappings are shared and must not be changed; the same mapping object means the same content, so
    "nothing changed in this type" is an identity test.
    """

    revision: int = 0
    resources: Mapping[ResourceType, Resources] = field(default_factory=dict)

    def of(self, type_: ResourceType) -> Resources:
        """Return the resources of one type by name."""
        return self.resources.get(type_, _NONE)

    def replacing(
        self, revision: int, changed: Iterable[Resource], removed: Iterable[tuple[ResourceType, str]] = ()
    ) -> Snapshot:
        """Return a snapshot with these resources put in or taken out; types not named are shared."""
        edited: dict[ResourceType, dict[str, Resource]] = {}
        for resource in changed:
            if resource.type not in edited:
                edited[resource.type] = dict(self.of(resource.type))
            edited[resource.type][resource.name] = resource
        for type_, name in removed:
            if type_ not in edited:
                edited[type_] = dict(self.of(type_))
            edited[type_].pop(name, None)
        return Snapshot(revision, {**self.resources, **edited})
