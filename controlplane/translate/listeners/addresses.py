"""Which addresses a service has for a client, and what other names it goes by."""

from __future__ import annotations

import ipaddress

from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Service

UNSPECIFIED = "0.0.0.0"  # noqa: S104 - stands for "no address" in Istio's model


def service_addresses(service: Service, client: ClientScope) -> tuple[str, ...]:
    """Return the addresses listeners are made for, ``0.0.0.0`` where the service has none.

    A Kubernetes service has one, of the first family the client knows; a ServiceEntry each it states. Addresses that
    were allocated count only for clients that capture DNS: others never hear of them.
    """
    if service.addresses:
        if not service.kubernetes:
            return service.addresses
        fitting = (address for address in service.addresses if _reachable(address, client))
        return (next(fitting, service.addresses[0]),)
    if client.dns_capture:
        fitting = (address for address in service.auto_addresses if _reachable(address, client))
        return (next(fitting, UNSPECIFIED),)
    return (UNSPECIFIED,)


def _reachable(address: str, client: ClientScope) -> bool:
    return client.ipv6 if ":" in address else client.ipv4


def is_ip(text: str) -> bool:
    """Whether the text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


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
