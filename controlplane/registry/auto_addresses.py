"""Automatic addresses: virtual IPs for ServiceEntries that state none, for proxies that answer DNS themselves.

An address in ``status.addresses`` is kept: there it outlives every edit. In a cluster one replica assigns addresses and
writes them there (``controllers/addresses``), and only those count. Elsewhere they are assigned on each look: the
oldest ServiceEntry first, each host the next free address of the pool, as Istio's controller does from an empty
cluster. So every replica comes to the same addresses, and a younger object never moves an older one's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from controlplane.apis.service_entry import Resolution, ServiceEntry
from controlplane.engine.recording import isolated, query
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey
from controlplane.registry.store import View

AUTO_ALLOCATE_LABEL = "networking.istio.io/enable-autoallocate-ip"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
POOLS: tuple[Network, ...] = (ipaddress.ip_network("240.240.0.0/16"), ipaddress.ip_network("2001:2::/48"))
"""Where addresses come from, one pool a family; each host gets one of each."""

Allocation = Mapping[str, tuple[str, ...]]
"""Addresses by host name, IPv4 first."""
Slot = tuple[ObjectKey, str, int]
"""What has one address: a host of a ServiceEntry, in lower case, and the IP version."""


def may_allocate(obj: Object) -> bool:
    """Whether a ServiceEntry gets addresses: it states none, resolves to something, and does not opt out."""
    spec: ServiceEntry = obj.spec
    if spec.addresses or spec.resolution is Resolution.NONE:
        return False
    return obj.meta.labels.get(AUTO_ALLOCATE_LABEL, "").lower() != "false"


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """What one ServiceEntry means for the pools.

    ``hosts`` get addresses, ``held`` says its status (host and address), ``taken`` of the pools are stated by a user.
    """

    key: ObjectKey
    age_order: tuple[str, str, str]
    hosts: tuple[str, ...] = ()
    held: tuple[tuple[str, str], ...] = ()
    taken: tuple[str, ...] = ()

    @property
    def slots(self) -> Iterator[Slot]:
        """Everything of it that has an address."""
        return ((self.key, host, pool.version) for host in self.hosts for pool in POOLS)


@isolated
def address_request(view: View, key: ObjectKey) -> AddressRequest | None:
    """Return what one ServiceEntry asks for, ``None`` where it has nothing to do with the pools."""
    obj = view.get(key)
    if obj is None:
        return None
    spec: ServiceEntry = obj.spec
    if not may_allocate(obj):
        stated = (_address(text.removesuffix("/32").removesuffix("/128")) for text in spec.addresses)
        taken = tuple(str(address) for address in stated if any(address in pool for pool in POOLS if address))
        return AddressRequest(key, obj.age_order, taken=taken) if taken else None
    held = tuple(
        (host.lower(), str(address)) for host, text in obj.meta.allocated if (address := _address(text)) is not None
    )
    return AddressRequest(key, obj.age_order, tuple(dict.fromkeys(map(str.lower, allocated_hosts(spec)))), held)


def allocated_hosts(spec: ServiceEntry) -> Iterator[str]:
    """Yield the hosts that get addresses: a wildcard only where it is resolved when a request names a host."""
    return (host for host in spec.hosts if not host.startswith("*") or spec.resolution is Resolution.DYNAMIC_DNS)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@query
def address_requests(view: View, _key: tuple[()]) -> tuple[AddressRequest, ...]:
    """Return what all of them ask for, the oldest first."""
    found = (address_request.outcome(view, key).value for key in view.keys(kinds.SERVICE_ENTRY))
    return tuple(sorted((each for each in found if each is not None), key=lambda each: (each.age_order, each.key)))


class Pools:
    """Gives out free addresses, each pool in its order from where it last was, and then from its beginning."""

    def __init__(self) -> None:
        self._last = {pool.version: int(pool.network_address) for pool in POOLS}

    def free(self, pool: Network, used: Collection[str]) -> Iterator[str]:
        """Yield addresses that are not used; neither the first nor the last of a pool."""
        first, end = int(pool.network_address) + 1, int(pool.broadcast_address)
        begin = self._last[pool.version] + 1
        for number in chain(range(begin, end), range(first, begin)):
            address = str(pool.network_address + (number - first + 1))
            if address not in used:
                self._last[pool.version] = number
                yield address


def assign(requests: Iterable[AddressRequest], before: Mapping[Slot, str], pools: Pools) -> dict[Slot, str]:
    """Return the address of each slot; one is missing only where a pool has no more.

    What a user stated is no other's. What a status holds stays, of two with one address the older one's; next what
    was assigned ``before`` and is in no status yet.
    """
    held = list(requests)
    used = {address for each in held for address in each.taken}
    found: dict[Slot, str] = {}

    def keep(slot: Slot, address: str) -> None:
        if slot not in found and address not in used:
            used.add(address)
            found[slot] = address

    for each in held:
        for host, address in each.held:
            if host in each.hosts:
                keep((each.key, host, 6 if ":" in address else 4), address)
    slots = [slot for each in held for slot in each.slots]
    for slot in slots:
        if slot in before:
            keep(slot, before[slot])
    free: Mapping[int, Iterator[str]] = {pool.version: pools.free(pool, used) for pool in POOLS}
    for slot in slots:
        if slot not in found and (fresh := next(free[slot[2]], None)) is not None:
            found[slot] = fresh
    return found


@query
def allocations(view: View, _key: tuple[()]) -> Mapping[ObjectKey, Allocation]:
    """Return the automatic addresses of all ServiceEntries that get some, where nobody writes them."""
    held = address_requests(view, ())
    found = assign(held, {}, Pools())
    return {
        each.key: {
            host: tuple(found[slot] for pool in POOLS if (slot := (each.key, host, pool.version)) in found)
            for host in each.hosts
        }
        for each in held
        if each.hosts
    }


@query
def auto_addresses(view: View, key: ObjectKey) -> Allocation:
    """Return the automatic addresses of one ServiceEntry by host; others' addresses do not matter to the reader."""
    own = address_request(view, key)
    if view.allocates:
        return allocations(view, ()).get(key, {})
    found: dict[str, dict[int, str]] = {host: {} for host in own.hosts} if own is not None else {}
    for host, address in own.held if own is not None else ():
        if host in found:
            found[host].setdefault(6 if ":" in address else 4, address)
    return {host: tuple(by[version] for version in sorted(by)) for host, by in found.items()}
