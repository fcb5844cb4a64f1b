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

from controlplane.rope import Body


class ResourceType(Enum):
    """A resource type of the xDS protocol; the value is its type URL. Declared in push order."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    VIRTUAL_HOST = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type URL
    EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    NAME_TABLE = "type.googleapis.com/istio.networking.nds.v1.NameTable"
    TRUST_BUNDLE = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"

    __hash__ = object.__hash__  # members are singletons: identity is enough, and several times faster

    @property
    def wildcard(self) -> bool:
        """Whether a client that names nothing gets everything. Reference: xDS protocol, "wildcard subscription"."""
        return self in _WILDCARD


_WILDCARD = frozenset(
    {
        ResourceType.CLUSTER,
        ResourceType.LISTENER,
        ResourceType.VIRTUAL_HOST,
        ResourceType.NAME_TABLE,
        ResourceType.TRUST_BUNDLE,
    }
)

SHORT: Mapping[ResourceType, str] = {
    ResourceType.CLUSTER: "CDS",
    ResourceType.ENDPOINT: "EDS",
    ResourceType.LISTENER: "LDS",
    ResourceType.ROUTE: "RDS",
    ResourceType.VIRTUAL_HOST: "VHDS",
    ResourceType.SECRET: "SDS",
    ResourceType.EXTENSION: "ECDS",
    ResourceType.NAME_TABLE: "NDS",
    ResourceType.TRUST_BUNDLE: "PCDS",
}
"""The short names of the discovery services, of every type."""

Refs = Mapping[ResourceType, frozenset[str]]
"""Names of resources, by their type."""
_NO_NAMES: frozenset[str] = frozenset()
_NO_REFS: Refs = {}  # shared by all that have none, and never written to

USERS: Mapping[ResourceType, tuple[ResourceType, ...]] = {
    ResourceType.CLUSTER: (ResourceType.LISTENER, ResourceType.ROUTE, ResourceType.VIRTUAL_HOST),
    ResourceType.ROUTE: (ResourceType.LISTENER,),
    ResourceType.SECRET: (ResourceType.CLUSTER, ResourceType.LISTENER),
    ResourceType.EXTENSION: (ResourceType.LISTENER,),
}
"""Which types refer to resources of a type: while one of them may name it, a proxy keeps what left the snapshot."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One built Envoy resource.

    ``content`` is the serialised message (not wrapped in an Any), ``version`` a hash of it. ``refs`` are the names of
    other resources that this one refers to, by their type, as its translator knows them: consistency and
    make-before-break never parse bytes. ``confidential`` is what a caller that has proved an identity is sent in its
    place; nothing else shows it. Two resources are equal when type, name and version are, and those of what is sent in
    their place.
    """

    type: ResourceType
    name: str
    version: str
    content: Body = field(compare=False, repr=False)
    refs: Refs = field(default_factory=lambda: _NO_REFS, compare=False, repr=False)
    confidential: Resource | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, type_: ResourceType, name: str, body: bytes, refs: Mapping[ResourceType, Iterable[str]] = _NO_REFS
    ) -> Resource:
        """Make a resource from its serialised message; the version is derived."""
        held = {of: frozenset(names) for of, names in refs.items()} if refs else _NO_REFS
        return cls(type_, name, content_version(body), body, held)

    @property
    def body(self) -> bytes:
        """The serialised message in one piece, which is made anew where the content is a rope."""
        return bytes(self.content)

    def named(self, type_: ResourceType) -> frozenset[str]:
        """Return the names of the resources of a type that this one refers to."""
        return self.refs.get(type_, _NO_NAMES)


def content_version(body: bytes) -> str:
    """Return the version of these bytes: 8 characters, equal for equal content on every replica.

    48 bits are enough: a version is only ever compared with another one of the same resource.
    """
    digest = hashlib.blake2b(body, digest_size=6).digest()
    return base64.urlsafe_b64encode(digest).decode()


Resources = Mapping[str, Resource]
_NONE: Resources = MappingProxyType({})

WHOLE = "*"
"""In place of a resource's name where not even the names are known; no resource is called so."""


@dataclass(frozen=True, slots=True)
class Failures:
    """What of one type could not be built, which is something else than what does not exist.

    ``reasons`` says why, by the resource's name or ``WHOLE``. A resource of that name in the snapshot is the last good
    one; without one, nothing may be said of the name: a proxy may hold it from before. ``blocking`` are those names
    that were never built since they were first tried: until they are, a proxy that begins is not answered.
    ``partial``: objects were never read since the program started that may be part of the resources here. They are
    answered to a proxy that begins, and not to one that comes with what it has from before.
    """

    reasons: Mapping[str, str] = field(default_factory=dict)
    blocking: frozenset[str] = frozenset()
    partial: bool = False

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def concerns(self, name: str) -> bool:
        """Whether a resource of this name, if there is none, may be one that could not be built."""
        return name in self.reasons or WHOLE in self.reasons


NO_FAILURES = Failures()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one proxy class should hold: resources by type and name, at registry ``revision``.

    ``failures`` has an entry for each type of which something could not be built.
    The mappings are shared and must not be changed; the same mapping object means the same content, so
    "nothing changed in this type" is an identity test.
    """

    revision: int = 0
    resources: Mapping[ResourceType, Resources] = field(default_factory=dict)
    failures: Mapping[ResourceType, Failures] = field(default_factory=dict)

    def of(self, type_: ResourceType) -> Resources:
        """Return the resources of one type by name."""
        return self.resources.get(type_, _NONE)

    def failed(self, type_: ResourceType) -> Failures:
        """Return what of one type could not be built."""
        return self.failures.get(type_, NO_FAILURES)

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
        return Snapshot(revision, {**self.resources, **edited}, self.failures)
