"""Patches of clusters: which of them are for a cluster is told by its name alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from controlplane.apis.envoy_filter import ApplyTo, ClusterMatch, PatchOperation
from controlplane.patches.merge import merge, merge_socket
from controlplane.patches.patch import Draft, Patch, Step

_INBOUND = "inbound"
_SERVER_NAME = "outbound_."  # of clusters that other networks' clients name in TLS, outbound_.80_.subset_.host
_PARTS = 4  # direction, port, subset, host


def matches_cluster(match: ClusterMatch | None, name: str, hosts: Collection[str] = ()) -> bool:
    """Whether a patch is for the cluster of this name; ``hosts`` are those of the services of an inbound one."""
    if match is None:
        return True
    if match.name:
        return match.name == name
    parts = name.split("_.", _PARTS - 1) if name.startswith(_SERVER_NAME) else name.split("|")
    direction, port, subset, host = parts if len(parts) == _PARTS else ("", "", "", "")
    served = hosts if direction == _INBOUND and hosts else (host,)
    return (
        match.subset in ("", subset)
        and (not match.service or match.service in served)
        and (not match.port_number or str(match.port_number) == port)
    )


def cluster_steps(patches: Sequence[Patch]) -> tuple[Step, ...]:
    """Return what patches that are for a cluster do to it, in order."""
    return tuple(
        Step(position, partial(_change, patch=patch))
        for position, patch in enumerate(patches)
        if patch.apply_to is ApplyTo.CLUSTER and (patch.merges or patch.operation is PatchOperation.REMOVE)
    )


def _change(draft: Draft, patch: Patch) -> bool:
    if patch.operation is PatchOperation.REMOVE:
        draft.gone = True
        return True
    cluster: Any = draft.message
    value: Any = patch.value
    if value.HasField("transport_socket"):
        return _merge_transport(cluster, value.transport_socket)
    return merge(cluster, value, replace_lists=patch.replaces_lists)


def _merge_transport(cluster: Any, socket: Any) -> bool:  # noqa: ANN401 - generated messages
    """Merge the transport socket of a patch: one of the same name merges, another replaces; nothing else counts."""
    if cluster.transport_socket_matches:
        held = (each.transport_socket for each in cluster.transport_socket_matches)
        found = next((each for each in held if each.name == socket.name), None)
        return found is not None and merge_socket(found, socket)
    if cluster.HasField("transport_socket") and cluster.transport_socket.name == socket.name:
        return merge_socket(cluster.transport_socket, socket)
    cluster.transport_socket.CopyFrom(socket)
    return True
