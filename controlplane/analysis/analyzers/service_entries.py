"""ServiceEntries: ports that cannot be told apart, and protocols about which several disagree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.hosts import EVERYWHERE, scopes
from controlplane.analysis.resources import Message, Resource, Resources, message
from controlplane.model import kinds

_CAPTURE = "ISTIO_META_DNS_CAPTURE"
_ALLOCATE = ("ISTIO_META_DNS_AUTO_ALLOCATE", "PILOT_ENABLE_IP_AUTOALLOCATE")


def addresses(resources: Resources) -> Iterator[Message]:
    """Find ports for TCP of entries that have no address, where none is allocated to them."""
    metadata = resources.mesh.config.default_config.proxy_metadata
    if metadata.get(_CAPTURE) == "true" and any(metadata.get(name) == "true" for name in _ALLOCATE):
        return
    for entry in resources.of(kinds.SERVICE_ENTRY):
        if raw.at(entry.spec, "addresses") or raw.at(entry.written, "status", "addresses"):
            continue
        for at, port in raw.mappings(entry.spec, "ports"):
            if raw.text(port, "protocol").upper() in {"", "TCP"}:
                yield message(codes.ADDRESSES_REQUIRED, entry, f"spec.ports[{at}]")


def conflicting_protocols(resources: Resources) -> Iterator[Message]:
    """Find hosts at a port that several entries have with different protocols, one finding an entry."""
    at_port: defaultdict[tuple[str, str, int], list[tuple[str, Resource]]] = defaultdict(list)
    for entry in resources.of(kinds.SERVICE_ENTRY):
        for scope in scopes(raw.texts(entry.spec, "exportTo"), entry.namespace):
            for host in raw.texts(entry.spec, "hosts"):
                for _, port in raw.mappings(entry.spec, "ports"):
                    protocol = raw.text(port, "protocol").upper()
                    at_port[scope, host, raw.number(port, "number")].append((protocol, entry))
    told: set[str] = set()
    for (scope, host, number), here in sorted(at_port.items(), key=lambda item: item[0]):
        everywhere = at_port.get((EVERYWHERE, host, number), []) if scope != EVERYWHERE else []
        together = [*here, *everywhere]
        protocols = sorted({protocol for protocol, _ in together})
        if len(protocols) == 1:
            continue
        names = sorted({entry.full_name for _, entry in together})
        for _, entry in together:
            if entry.full_name not in told:
                told.add(entry.full_name)
                yield message(
                    codes.CONFLICTING_PROTOCOLS,
                    entry,
                    "spec.ports",
                    names=names,
                    host=host,
                    port=number,
                    protocols=protocols,
                )
