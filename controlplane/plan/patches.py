"""The difference of Envoy's resources as JSON patches, each made once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.json_format import Error, MessageToDict
from google.protobuf.message import Message

from controlplane.plan.edits import edits
from controlplane.published import publish
from controlplane.snapshots import Resource, ResourceType

MESSAGES: Mapping[ResourceType, type[Message]] = {
    ResourceType.CLUSTER: Cluster,
    ResourceType.ENDPOINT: ClusterLoadAssignment,
    ResourceType.LISTENER: Listener,
    ResourceType.ROUTE: RouteConfiguration,
    ResourceType.SECRET: Secret,
    ResourceType.EXTENSION: TypedExtensionConfig,
}
"""What Envoy's resources of each type are, of all types that can be shown."""
MOST_BYTES = 2_000_000
"""Of resources whose difference is told in one answer; what is beyond it is named only."""


class Patches:
    """Patches of one answer."""

    def __init__(self) -> None:
        self._known: dict[tuple[Resource, Resource], dict[str, Any]] = {}
        self._left = MOST_BYTES

    def of(self, before: Resource, after: Resource) -> dict[str, Any]:
        """Return ``patch``, or ``unshown``: why there is none. Of Secrets, keys and passwords nothing is told."""
        found = self._known.get((before, after))
        if found is None:
            found = self._known[before, after] = self._made(before, after)
        return found

    def _made(self, before: Resource, after: Resource) -> dict[str, Any]:
        message = MESSAGES.get(before.type)
        if message is None or message is Secret:
            return {"unshown": "what it holds is not told"}
        self._left -= len(before.content) + len(after.content)
        if self._left < 0:
            return {"unshown": f"the difference of {MOST_BYTES // 1_000_000} MB of resources is told, this is beyond"}
        try:
            old, new = (_value(message, each.body) for each in (before, after))
        except (Error, TypeError) as error:
            return {"unshown": f"it holds something that cannot be written as JSON: {error}"}
        found = [edit.words() for edit in edits(old, new)]
        return {"patch": found} if found else {"unshown": "only what nobody may see is another: a key, a password"}


def _value(message: type[Message], body: bytes) -> Any:  # noqa: ANN401 - JSON
    made = message()
    made.ParseFromString(body)
    publish(made)
    return MessageToDict(made, preserving_proto_field_name=True)
