"""Which addresses a service has for a client, and what other names it goes by."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.documents.words import is_ip
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Service

UNSPECIFIED = "0.0.0.0"  # noqa: S104 - stands for "no address" in Istio's model


class Place(NamedTuple):
    """Where one listener for a service listens: ``address``, and the ``additional`` ones that lead to the same."""

    address: str
    additional: tuple[str, ...] = ()


def service_places(service: Service, client: ClientScope, shared: tuple[str, ...] = ()) -> tuple[Place, ...]:
    """Return the places listeners are made for, one of address ``0.0.0.0`` where the service has no address.

    A Kubernetes service has one, at its first address of a family the client knows, and at the others too for a client
    of both families that wants that. A ServiceEntry has one for each address that it states. Addresses that were
    allocated count only for clients that capture DNS: others never hear of them. ``shared`` are those of all
    ServiceEntries of the host name, any of which such a client may be told.
    """
    if service.addresses:
        if not service.kubernetes:
            return tuple(Place(address) for address in service.addresses)
        fitting = [address for address in service.addresses if reachable(address, client)]
        return (
            (Place(fitting[0], tuple(fitting[1:]) if client.dual_stack else ()),)
            if fitting
            else (Place(service.addresses[0]),)
        )
    fitting = [address for address in service.auto_addresses if client.dns_capture and reachable(address, client)]
    if not fitting:
        return (Place(UNSPECIFIED),)
    every = dict.fromkeys((*fitting, *shared))
    return (Place(fitting[0], tuple(every)[1:]),)


def reachable(address: str, client: ClientScope) -> bool:
    """Whether an address is of a family that the client has."""
    return client.ipv6 if ":" in address else client.ipv4


def alternate_names(hostname: str, domain: str) -> list[str]:
    """Return the shorter names a client in DNS domain ``domain`` may use for a host, and the absolute form.

    Reference: resolver search lists; ``name.ns.svc.cluster.local`` is ``name.ns`` from another namespace.
    """
    names = [] if is_ip(hostname) else [f"{hostname}."]
    if ".svc." in domain:
        own, _, rest = domain.partition(".svc.")
        suffix = f".svc.{rest}"
        if not hostname.endswith(suffix):
            return names
        name, dot, namespace = hostname.removesuffix(suffix).rpartition(".")
        if not dot:
            return names
        if namespace == own:
            return [*names, name, f"{name}.{namespace}.svc", f"{name}.{namespace}"]
        return [*names, f"{name}.{namespace}", f"{name}.{namespace}.svc"]
    return names + _shared_suffix_names(hostname, domain)


def _shared_suffix_names(hostname: str, domain: str) -> list[str]:
    host, search = hostname.split("."), domain.split(".")
    shared = 0
    while shared < min(len(host), len(search)) and host[-1 - shared] == search[-1 - shared]:
        shared += 1
    if not shared or shared == len(host):
        return []
    unique = host[: len(host) - shared]
    names = [".".join(unique)]
    if len(unique) == 2:  # noqa: PLR2004 - Istio's rule: name and namespace
        names.append(".".join([*unique, host[len(host) - shared]]))
    return names
