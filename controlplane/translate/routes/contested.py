"""Domains that several virtual hosts of one port would have: each stays in one of them.

Only these few virtual hosts are looked at, and made anew with fewer domains; all others stay as in their portions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from controlplane.registry.store import View
from controlplane.translate.routes.portioned import HostNames, built_portion
from controlplane.translate.routes.selection import HostsKey, HostsPortion, virtual_host_keys
from controlplane.translate.routes.virtual_hosts import EncodedVirtualHost, VirtualHostKey, virtual_host


def settle(
    view: View, key: HostsKey, names: HostNames, keys: list[VirtualHostKey], hosts: list[EncodedVirtualHost]
) -> None:
    """Leave each contested domain to one virtual host, in place; one without any left has no domains.

    ``keys`` and ``hosts`` are those of all portions, one portion after the other.
    """
    places = {(keys[place].host, keys[place].port): place for place in _concerned(view, key, names)}
    concerned = {host for host, _ in places}
    order = [
        places[each.host, each.port]
        for each in virtual_host_keys(view, key)
        if each.host in concerned and (each.host, each.port) in places
    ]
    few_keys, few_hosts = [keys[place] for place in order], [hosts[place] for place in order]
    drop_shadowing(view, few_keys, few_hosts, names.shadowed)
    leave_to_the_first(view, few_keys, few_hosts)
    for place, own, host in zip(order, few_keys, few_hosts, strict=True):
        keys[place], hosts[place] = own, host


def _concerned(view: View, key: HostsKey, names: HostNames) -> Sequence[int]:
    """Return the places of virtual hosts with contested domains."""
    found: list[int] = []
    for number, start in names.crowded:
        held = built_portion(view, HostsPortion(key, number)).hosts
        for place, host in enumerate(held, start):
            free = names.contested.isdisjoint(host.domains) and names.shadowed.isdisjoint(host.alternates)
            if not free:
                found.append(place)
    return found


def drop_shadowing(
    view: View, keys: list[VirtualHostKey], hosts: list[EncodedVirtualHost], shadowing: Collection[str]
) -> None:
    """Take generated short names away that are the real name of another service: ``shadowing`` are these."""
    for index, host in enumerate(hosts):
        dropped = host.alternates.intersection(shadowing)
        if dropped:
            keys[index] = keys[index]._replace(dropped=dropped)
            hosts[index] = virtual_host(view, keys[index])


def leave_to_the_first(view: View, keys: list[VirtualHostKey], hosts: list[EncodedVirtualHost]) -> None:
    """Leave each domain to the first virtual host that has it; one without any left has no domains."""
    seen: set[str] = set()
    for index, (key, host) in enumerate(zip(tuple(keys), tuple(hosts), strict=True)):
        left = tuple(name for name in host.domains if name not in seen)
        seen.update(left)
        if left == host.domains:
            continue
        keys[index] = key._replace(only=left)
        hosts[index] = virtual_host(view, keys[index]) if left else NOWHERE


NOWHERE = EncodedVirtualHost("", (), frozenset(), frozenset(), b"", 0)
"""What is left of a virtual host without domains."""
