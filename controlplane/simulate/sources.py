"""The object and field that an element of the configuration comes from, as far as the element itself says it.

What only a registry knows (the rule that made a route, who lost) is added by ``mesh_sources``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.simulate.call import Call, Place, Source, Step

_PATH_PARTS = 8
_BY_PATH = {"virtual-service": kinds.VIRTUAL_SERVICE, "destination-rule": kinds.DESTINATION_RULE}


class Sources:
    """Reads origins from metadata and names alone: a snapshot without its registry."""

    def of_listener(self, listener: Any, call: Call) -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return what a listener is for."""
        del listener, call
        return None

    def of_virtual_host(self, host: Any, call: Call) -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the service, or what else has this host."""
        del host, call
        return None

    def of_route(self, route: Any, part: str = "") -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the rule that made a route; ``part`` is the field of the rule that is meant."""
        found = configured(route)
        return Source(found, f"spec.http{part}" if part else "") if found is not None else None

    def of_cluster(self, cluster: Any) -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the DestinationRule that shaped a cluster, else its service."""
        found = configured(cluster)
        return Source(found) if found is not None else self.of_service(cluster)

    def of_service(self, cluster: Any) -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the object that states a cluster's service."""
        del cluster
        return None

    def of_policy(self, name: str) -> Source | None:
        """Return the AuthorizationPolicy and rule that an RBAC filter has under a name."""
        return named_policy(name)

    def of_tokens(self) -> Source | None:
        """Return the RequestAuthentication of the proxy."""
        return None

    def of_place(self, place: Place) -> Source | None:
        """Return the pod, or what else an endpoint belongs to."""
        del place
        return None

    def of_security(self, cluster: Any, place: Place) -> Source | None:  # noqa: ANN401 - see above
        """Return what decides how the proxy speaks to an endpoint."""
        del cluster, place
        return None

    def lost(self, host: Any, call: Call) -> Sequence[Step]:  # noqa: ANN401 - Envoy's messages carry no types
        """Return what has the same host and is not used for it."""
        del host, call
        return ()

    def left_out(self, cluster: Any) -> Sequence[Step]:  # noqa: ANN401 - Envoy's messages carry no types
        """Return pods that belong to a cluster and are no endpoint of it."""
        del cluster
        return ()


def configured(message: Any) -> ObjectKey | None:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the object that an element's metadata names."""
    held = message.metadata.filter_metadata
    if "istio" not in held or "config" not in held["istio"]:
        return None
    parts = held["istio"]["config"].split("/")
    if len(parts) != _PATH_PARTS or parts[6] not in _BY_PATH:
        return None
    return ObjectKey(_BY_PATH[parts[6]], parts[5], parts[7])


def named_policy(name: str) -> Source | None:
    """Return what ``ns[shop]-policy[viewer]-rule[0]`` names."""
    head, _, rest = name.partition("ns[")
    namespace, found, rest = rest.partition("]-policy[")
    policy, also, rule = rest.partition("]-rule[")
    if head or not found or not also:
        return None
    key = ObjectKey(kinds.AUTHORIZATION_POLICY, namespace, policy)
    return Source(key, f"spec.rules[{rule.removesuffix(']')}]")


def services(cluster: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Envoy's messages carry no types
    """Return host and namespace of the services that a cluster's metadata names."""
    held = cluster.metadata.filter_metadata
    if "istio" not in held or "services" not in held["istio"]:
        return []
    return [(one["host"], one["namespace"]) for one in held["istio"]["services"]]
