"""Automatic addresses: virtual IPs for ServiceEntries that state none, for proxies that answer DNS themselves.

An address in ``status.addresses`` is kept: there it outlives every edit. Where nothing wrote one, it is computed: the
oldest ServiceEntry first, each host the next free address of the pool, as Istio's controller does from an empty
cluster. So every replica comes to the same addresses, and a younger object never moves an older one's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controlplane.apis.service_entry import Resolution, ServiceEntry
from controlplane.model.objects import Object, ObjectKey
from controlplane.registry.memo import isolated, query
from controlplane.registry.store import View

AUTO_ALLOCATE_LABEL = "networking.istio.io/enable-autoallocate-ip"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
POOLS: tuple[Network, ...] = (ipaddress.ip_network("240.240.0.0/16"), ipaddress.ip_network("2001:2::/48"))
"""Where addresses come from, one pool a family; each host gets one of each."""

Allocation = Mapping[str, tuple[str, ...]]
"""Addresses by host name, IPv4 first."""


def may_allocate(obj: Object) -> bool:
    """Whether a ServiceEntry gets addresses: it states none, resolves to something, and does not opt out."""
    spec: ServiceEntry = obj.spec
    if spec.addresses or spec.resolution is Resolution.NONE:
        return False
    return obj.meta.labels.get(AUTO_ALLOCATE_LABEL, "").lower() != "false"


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one ServiceEntry means for the pools: ``taken`` are addresses a user stated, ``held`` what a status says."""

    age_order: tuple[str, str, str]
    hosts: tuple[str, ...] = ()
    held: tuple[tuple[str, str], ...] = ()
    taken: tuple[str, ...] = ()


@isolated(None)
def _claim(view: View, key: ObjectKey) -> _Claim | None:
    """Return the claim of one ServiceEntry, ``None`` where it has nothing to do with the pools."""
    obj = view.get(key)
    if obj is None:
        return None
    spec: ServiceEntry = obj.spec
    if not may_allocate(obj):
        taken = tuple(address for text in spec.addresses if (address := _pooled(text.removesuffix("/32"))) is not None)
        return _Claim(obj.age_order, taken=taken) if taken else None
    wildcards = spec.resolution is Resolution.DYNAMIC_DNS
    hosts = tuple(dict.fromkeys(host.lower() for host in spec.hosts if wildcards or not host.startswith("*")))
    held = tuple(
        (host.lower(), pooled) for host, address in obj.meta.allocated if (pooled := _pooled(address)) is not None
    )
    return _Claim(obj.age_order, hosts, held)


def _pooled(text: str) -> str | None:
    """Return an address of one of the pools in its canonical form, ``None`` for anything else."""
    try:
        address = ipaddress.ip_address(text.removesuffix("/128"))
    except ValueError:
        return None
    return str(address) if any(address in pool for pool in POOLS) else None


@query
def allocations(view: View, _key: tuple[()]) -> Mapping[ObjectKey, Allocation]:
    """Return the automatic addresses of all ServiceEntries that get some."""
    claims = {key: claim for key in view.keys("ServiceEntry") if (claim := _claim(view, key)) is not None}
    oldest = sorted(claims, key=lambda key: (claims[key].age_order, key))
    used = {address for claim in claims.values() for address in claim.taken}
    kept: dict[tuple[ObjectKey, str, int], str] = {}
    for key in oldest:
        for host, address in claims[key].held:
            slot = (key, host, 6 if ":" in address else 4)
            if host in claims[key].hosts and slot not in kept and address not in used:
                used.add(address)
                kept[slot] = address
    free = {pool.version: _free(pool, used) for pool in POOLS}
    return {
        key: {
            host: tuple(
                address
                for pool in POOLS
                if (address := kept.get((key, host, pool.version)) or next(free[pool.version], ""))
            )
            for host in claims[key].hosts
        }
        for key in oldest
        if claims[key].hosts
    }


def _free(pool: Network, used: set[str]) -> Iterator[str]:
    """Yield the addresses of a pool that are not in use, in order, without the first and (IPv4) the last of all."""
    return (text for address in pool.hosts() if (text := str(address)) not in used)


@query
def auto_addresses(view: View, key: ObjectKey) -> Allocation:
    """Return the automatic addresses of one ServiceEntry by host; others' addresses do not matter to the reader."""
    return allocations(view, ()).get(key, {})
