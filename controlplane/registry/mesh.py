"""Mesh-wide settings as queries: the ConfigMap ``istio`` over the defaults, and parts of it.

Who reads a part is built again only when that part changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.apis.mesh import MeshConfig, TLSConfig
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.registry.environment import ANY_TRUST_DOMAIN, enabled
from controlplane.registry.store import View

SYSTEM_NAMESPACE = "istio-system"
MESH_CONFIG_MAP = "istio"
MESH_KEY = ObjectKey(kinds.CONFIG_MAP, SYSTEM_NAMESPACE, MESH_CONFIG_MAP)


@query
def mesh(view: View, _key: tuple[()]) -> MeshConfig:
    """Return the mesh configuration. Source: ConfigMap ``istio-system/istio``, key ``mesh``."""
    obj = view.get(MESH_KEY)
    text = obj.spec.data.get("mesh", "") if obj is not None else ""
    return MeshConfig.parse(text)


def mesh_config(view: View) -> MeshConfig:
    """Return the mesh configuration; the read is recorded."""
    return mesh(view, ())


class Ports(NamedTuple):
    """Where sidecars listen: for captured traffic of each direction, and as an HTTP proxy; 0: nowhere."""

    outbound: int
    inbound: int
    http_proxy: int


@query
def ports(view: View, _key: tuple[()]) -> Ports:
    """Return where sidecars listen."""
    held = mesh_config(view)
    return Ports(held.proxy_listen_port, held.proxy_inbound_listen_port, held.proxy_http_port)


@query
def root_namespace(view: View, _key: tuple[()]) -> str:
    """Return the namespace whose policies are for the whole mesh."""
    return mesh_config(view).root_namespace


@query
def outbound_stat_name(view: View, _key: tuple[()]) -> str:
    """Return the pattern by which outbound clusters are named in statistics, empty for none."""
    return mesh_config(view).outbound_cluster_stat_name


@dataclass(frozen=True, slots=True)
class PeerTls:
    """What a caller inside the mesh has to show: TLS within these bounds, an identity of these trust domains.

    Without any, one of whatever domain will do.
    """

    bounds: TLSConfig | None
    domains: tuple[str, ...]


@query
def peer_tls(view: View, _key: tuple[()]) -> PeerTls:
    """Return what a caller inside the mesh has to show. Reference: MeshConfig.meshMTLS, trustDomain."""
    held = mesh_config(view)
    return PeerTls(held.mesh_mtls, () if enabled(view, ANY_TRUST_DOMAIN) else trust_domains(held))


def trust_domains(held: MeshConfig) -> tuple[str, ...]:
    """Return the trust domain, its aliases, and those that further root certificates are for; each once."""
    foreign = (domain for certificate in held.ca_certificates for domain in certificate.trust_domains)
    return tuple(dict.fromkeys((held.trust_domain, *held.trust_domain_aliases, *foreign)))
