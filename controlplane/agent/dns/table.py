"""The names of the mesh with their addresses. Source: ``istio.networking.nds.v1.NameTable``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.messages.name_table_pb2 import NameTable

KUBERNETES = "Kubernetes"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of one name."""

    v4: tuple[str, ...]
    v6: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """Names end with a dot and are in lower case. ``aliases`` lead names with the search domain to those without."""

    addresses: Mapping[str, Addresses] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> tuple[str, Addresses, str | None] | None:
        """Return the name that a record belongs to, its addresses, and the alias's target if it is one.

        A wildcard answers for whatever is below it, the longest first; its records belong to the name that was asked
        for, or to the wildcard itself where an alias leads there.
        """
        for candidate in _candidates(name):
            target = self.aliases.get(candidate)
            if target is not None and target in self.addresses:
                return target, self.addresses[target], target
            if candidate in self.addresses:
                return name, self.addresses[candidate], None
        return None


def _candidates(name: str) -> Iterator[str]:
    yield name
    _, _, rest = name.partition(".")
    while rest:
        yield f"*.{rest}"
        _, _, rest = rest.partition(".")


def names(encoded: bytes, namespace: str, domain: str, search: str) -> Names:
    """Return the names of a table for a proxy in this namespace.

    ``domain`` is the proxy's (``shop.svc.cluster.local``), ``search`` the first domain that the pod's resolver tries.
    Raises ``ValueError`` for what is no table.
    """
    table = NameTable.FromString(encoded)
    base = domain.lower().removeprefix(f"{namespace}.")
    addresses: dict[str, Addresses] = {}
    aliases: dict[str, str] = {}
    for host, info in table.table.items():
        found = _addresses(info.ips)
        if not (found.v4 or found.v6):
            continue
        known = list(dict.fromkeys(name.lower() for name in _names_of(host, info, namespace, base)))
        for name in known:
            addresses[name] = found
        for name in known:
            alias = f"{name}{search}."
            if search and not name.endswith(f".{search}.") and alias not in known:
                aliases[alias] = name
    return Names(addresses, aliases)


def _names_of(host: str, info: NameTable.NameInfo, namespace: str, base: str) -> Iterator[str]:
    """Yield every name that a host is known by: of a Kubernetes service also the shorter ones."""
    if host.endswith("."):
        return
    yield f"{host}."
    if info.registry != KUBERNETES:
        return
    if base and host.lower().endswith(f".{base}"):
        yield f"{info.shortname}.{info.namespace}."
        yield f"{info.shortname}.{info.namespace}.{base.partition('.')[0]}."
        if info.namespace == namespace:
            yield f"{info.shortname}."
    yield from (f"{name}." for name in info.alt_hosts)


def _addresses(texts: Sequence[str]) -> Addresses:
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_address(text))
        except ValueError:
            continue
    return Addresses(
        tuple(str(each) for each in found if each.version == 4),  # noqa: PLR2004 - the version of IP
        tuple(str(each) for each in found if each.version == 6),  # noqa: PLR2004
    )
