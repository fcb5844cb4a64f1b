"""EnvoyFilter: changes of the finished Envoy configuration."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from controlplane.apis.common import (
    ApiModel,
    Int32,
    PortNumber,
    StringMap,
    TargetReferences,
    UInt32,
    WorkloadLabelSelector,
    at_most_one,
    rule,
)


class ApplyTo(StrEnum):
    """What is changed."""

    INVALID = "INVALID"
    LISTENER = "LISTENER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"
    BOOTSTRAP = "BOOTSTRAP"
    LISTENER_FILTER = "LISTENER_FILTER"


class PatchContext(StrEnum):
    """Where it is changed."""

    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"
    WAYPOINT = "WAYPOINT"


class PatchOperation(StrEnum):
    """How it is changed."""

    INVALID = "INVALID"
    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"
    MERGE_AND_REPLACE_LIST = "MERGE_AND_REPLACE_LIST"


class FilterClass(StrEnum):
    """Where an added filter stands, for ``ADD`` without a match."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class RouteAction(StrEnum):
    """The action of a route to match."""

    ANY = "ANY"
    ROUTE = "ROUTE"
    REDIRECT = "REDIRECT"
    DIRECT_RESPONSE = "DIRECT_RESPONSE"


class ProxyMatch(ApiModel):
    """Proxies by version (RE2) and node metadata."""

    proxy_version: str = ""
    metadata: StringMap = Field(default_factory=dict)


class ClusterMatch(ApiModel):
    """Clusters; empty and 0 match all."""

    port_number: UInt32 = 0
    service: str = ""
    subset: str = ""
    name: str = ""


class SubFilterMatch(ApiModel):
    """A filter within a filter."""

    name: str = ""


class FilterMatch(ApiModel):
    """A filter of a chain."""

    name: str = ""
    sub_filter: SubFilterMatch | None = None


class FilterChainMatch(ApiModel):
    """Filter chains; empty and 0 match all."""

    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    transport_socket: str = ""
    application_protocols: str = ""
    destination_port: UInt32 = 0
    filter: FilterMatch | None = None


class ListenerMatch(ApiModel):
    """Listeners; empty and 0 match all."""

    port_number: UInt32 = 0
    port_name: str = ""
    filter_chain: FilterChainMatch | None = None
    listener_filter: str = ""
    name: str = ""


class RouteMatch(ApiModel):
    """Routes of a virtual host."""

    name: str = ""
    action: RouteAction = RouteAction.ANY


class VirtualHostMatch(ApiModel):
    """Virtual hosts."""

    name: str = ""
    domain_name: str = ""
    route: RouteMatch | None = None


class RouteConfigurationMatch(ApiModel):
    """Route configurations; ``gateway`` is ``namespace/name``."""

    port_number: UInt32 = 0
    port_name: str = ""
    gateway: str = ""
    vhost: VirtualHostMatch | None = None
    name: str = ""


class WaypointRouteMatch(ApiModel):
    """A route of a waypoint."""

    name: str = ""


class WaypointMatch(ApiModel):
    """Parts of a waypoint."""

    port_number: PortNumber | None = None
    filter: FilterMatch | None = None
    route: WaypointRouteMatch | None = None


class EnvoyConfigObjectMatch(ApiModel):
    """What is changed, more closely; the matched object must suit ``apply_to``."""

    context: PatchContext = PatchContext.ANY
    proxy: ProxyMatch | None = None
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None
    waypoint: WaypointMatch | None = None

    _one = at_most_one("listener", "route_configuration", "cluster", "waypoint")
    _waypoint = rule(
        lambda match: (match.context is PatchContext.WAYPOINT) == match.has("waypoint"),
        "only support waypointMatch when context is WAYPOINT",
    )


class Patch(ApiModel):
    """The change; ``value`` is Envoy's message as JSON."""

    operation: PatchOperation = PatchOperation.INVALID
    value: dict[str, Any] | None = None
    filter_class: FilterClass = FilterClass.UNSPECIFIED


class EnvoyConfigObjectPatch(ApiModel):
    """One change."""

    apply_to: ApplyTo = ApplyTo.INVALID
    match: EnvoyConfigObjectMatch | None = None
    patch: Patch | None = None


class EnvoyFilter(ApiModel):
    """``spec`` of an EnvoyFilter; a lower ``priority`` is applied first. No selector: the namespace."""

    workload_selector: WorkloadLabelSelector | None = None
    target_refs: TargetReferences = ()
    config_patches: tuple[EnvoyConfigObjectPatch, ...] = ()
    priority: Int32 = 0

    _one_target = at_most_one(
        "workload_selector", "target_refs", reason="only one of targetRefs or workloadSelector can be set"
    )
