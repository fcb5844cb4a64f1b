"""Services whose endpoints are for clients of the same Kubernetes cluster alone."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.engine.recording import query
from controlplane.registry.destination_rules import most_specific
from controlplane.registry.mesh import mesh_config
from controlplane.registry.store import View


@query
def _by_host(view: View, _key: tuple[()]) -> Mapping[str, bool]:
    """Return what is known of host names, which may be wildcards. Source: MeshConfig.serviceSettings."""
    mesh = mesh_config(view)
    discovery = mesh.default_config.discovery_address.rpartition(":")[0]
    if discovery and not discovery.endswith(view.domain):
        discovery = f"{discovery}.{view.domain}"
    found = dict.fromkeys(
        (f"*.kube-system.svc.{view.domain}", f"kubernetes.default.svc.{view.domain}", discovery), True
    )
    for each in mesh.service_settings:
        found.update(dict.fromkeys((host.lower() for host in each.hosts), each.cluster_local))
    return found


@query
def is_cluster_local(view: View, hostname: str) -> bool:
    """Whether endpoints of a host are for clients of their own cluster alone: the best match of its name decides."""
    known = _by_host(view, ())
    host = most_specific(known, hostname)
    return host is not None and known[host]
