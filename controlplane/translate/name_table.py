"""The name table: what a proxy that answers DNS itself tells its workload. Source: ``istio.networking.nds.v1``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane.documents.words import is_portable_ip
from controlplane.engine.recording import Query
from controlplane.messages.name_table_pb2 import NameTable
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Endpoint, Health, Resolution, Service
from controlplane.registry.endpoints import known_endpoints
from controlplane.registry.scopes import EgressKey, egress_scope
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.routes.domains import DomainOptions, addresses

NAME = ""
"""The one table of a proxy has no name, in Istio's protocol too."""

KUBERNETES = "Kubernetes"
EXTERNAL = "External"
_MULTICLUSTER = ".clusterset.local"


class TableKey(NamedTuple):
    """What of a client the table depends on; ``network`` decides which endpoints of a headless service it reaches."""

    egress: EgressKey
    ipv4: bool
    ipv6: bool
    network: str

    @classmethod
    def of(cls, client: ClientScope) -> TableKey:
        """Return the key for a client."""
        return cls(EgressKey(client.namespace, client.sidecar), client.ipv4, client.ipv6, client.network)


def _name_table(view: View, key: TableKey) -> Resource:
    """Return the names of everything in the client's scope that has an address.

    Of two services with one host name Kubernetes' replaces another; ServiceEntries put their addresses together.
    """
    table = NameTable()
    options = DomainOptions(key.ipv4, key.ipv6, auto=True)
    listeners = egress_scope(view, key.egress).listeners
    for service in dict.fromkeys(service for listener in listeners for service in listener.services):
        if service.resolution is Resolution.ALIAS:
            continue
        found = addresses(service, options)
        ips = list(dict.fromkeys(ip for ip in found if is_portable_ip(ip)))
        if not found and service.resolution is Resolution.PASSTHROUGH and service.ports:
            pods = tuple(_reached(view, service, key.network))
            ips = list(dict.fromkeys(pod.address for pod in pods))
            _add_pods(table, service, pods)
        if ips:
            _add(table, service, ips)
    return Resource.of(ResourceType.NAME_TABLE, NAME, table.SerializeToString(deterministic=True))


name_table: Query[TableKey, Resource] = Query(_name_table, isolated=True)


def _add(table: NameTable, service: Service, ips: Iterable[str]) -> None:
    known = table.table.get(service.hostname) if service.hostname in table.table else None
    if known is not None and known.registry == KUBERNETES:
        return
    if known is not None and not service.kubernetes:
        known.ips.extend(ip for ip in ips if ip not in known.ips)
        return
    info = table.table[service.hostname]
    info.Clear()
    info.ips.extend(ips)
    info.registry = _registry(service)
    if service.kubernetes and not service.hostname.endswith(_MULTICLUSTER):
        info.shortname, info.namespace = service.name, service.namespace


def _add_pods(table: NameTable, service: Service, pods: Iterable[Endpoint]) -> None:
    """Name each pod that has a host name of its own, as a StatefulSet's have: ``<hostname>.<subdomain>.<rest>``."""
    _, _, rest = service.hostname.partition(".")
    for pod in pods:
        if not (pod.hostname and pod.subdomain and rest):
            continue
        shortname = f"{pod.hostname}.{pod.subdomain}"
        info = table.table[f"{shortname}.{rest}"]
        if pod.address not in info.ips:
            info.ips.append(pod.address)
        info.registry, info.shortname, info.namespace = _registry(service), shortname, service.namespace


def _reached(view: View, service: Service, network: str) -> Iterator[Endpoint]:
    """Yield the endpoints of a headless service's first port that are ready and in the client's network."""
    for endpoint in known_endpoints(view, service.hostname, service.namespace):
        same_network = not endpoint.network or not network or endpoint.network == network
        ready = endpoint.health is Health.HEALTHY or service.publish_not_ready
        if endpoint.serves(service.ports[0]) and same_network and ready and is_portable_ip(endpoint.address):
            yield endpoint


def _registry(service: Service) -> str:
    return KUBERNETES if service.kubernetes else EXTERNAL
