"""Findings: objects that are valid and used, and that do not do what their author wants because of another object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from controlplane.apis.virtual_service import Destination
from controlplane.model.objects import ObjectKey
from controlplane.registry.contested_hosts import contested_hosts
from controlplane.registry.contested_servers import contested_servers
from controlplane.registry.destination_rules import Lookup, rules_for
from controlplane.registry.memo import Query, query
from controlplane.registry.overruled import overruled
from controlplane.registry.services import best_namespace, visible_by_host
from controlplane.registry.store import View
from controlplane.registry.superseded import superseded
from controlplane.registry.virtual_services import ResolvedVirtualService, undelegated


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake in one object: ``path`` of the field as ``spec.http[0].route[1].destination.subset``, and why.

    ``winner`` is the object that is used for what this field says, ``None`` where the field is used itself.
    """

    key: ObjectKey
    path: str
    reason: str
    winner: ObjectKey | None = field(default=None, compare=False)


@query
def missing_subsets(view: View, key: ObjectKey) -> tuple[Finding, ...]:
    """Return the destinations of a VirtualService whose subset no DestinationRule names, in order of their paths.

    The rules are those that clients of the object's own namespace find; clients elsewhere may find others. Such a
    destination stays in the route with the name of a cluster that does not exist: Envoy answers with 503.
    """
    held = undelegated(view, key)
    if held is None:
        return ()
    return tuple(
        Finding(
            key,
            f"{path}.subset",
            f"no DestinationRule for {destination.host} that namespace {key.namespace} sees has a subset named"
            f' "{destination.subset}"; what is sent there is answered with 503',
        )
        for path, destination in _destinations(held)
        if destination.subset and not _named(view, key.namespace, destination)
    )


def _destinations(held: ResolvedVirtualService) -> Iterator[tuple[str, Destination]]:
    """Yield every destination with its path; resolving names moves none of them."""
    for index, http in enumerate(held.http):
        rule = f"spec.http[{index}]"
        for at, weighted in enumerate(http.route):
            yield f"{rule}.route[{at}].destination", weighted.destination
        if http.mirror is not None:
            yield f"{rule}.mirror", http.mirror
        for at, mirror in enumerate(http.mirrors):
            yield f"{rule}.mirrors[{at}].destination", mirror.destination
    for index, tls in enumerate(held.tls):
        for at, choice in enumerate(tls.route):
            yield f"spec.tls[{index}].route[{at}].destination", choice.destination
    for index, tcp in enumerate(held.tcp):
        for at, choice in enumerate(tcp.route):
            yield f"spec.tcp[{index}].route[{at}].destination", choice.destination


def _named(view: View, namespace: str, destination: Destination) -> bool:
    lookup = Lookup(namespace, destination.host, _namespace_of(view, destination.host, namespace))
    return any(rule.subset(destination.subset) is not None for rule in rules_for(view, lookup))


def _namespace_of(view: View, host: str, client: str) -> str:
    """Return the namespace of the service that a client means, empty for an unknown one.

    The name of a Kubernetes service says it: to look among all visible services of each namespace would cost more.
    """
    name, found, _ = host.partition(f".svc.{view.domain}")
    if found:
        return name.partition(".")[2]
    known = best_namespace(visible_by_host(view, client).by_host.get(host, ()), client)
    return known[0].namespace if known else ""


def _findings(view: View, _key: tuple[()]) -> tuple[Finding, ...]:
    missing = [finding for key in view.keys("VirtualService") for finding in missing_subsets(view, key)]
    found = sorted((*missing, *_lost(view), *_unused(view)), key=lambda each: each.key)
    return tuple(found)


def _lost(view: View) -> Iterator[Finding]:
    """Yield what objects share with others and do not get."""
    for host in contested_hosts(view, ()):
        reason = (
            f"{host.winner} has {host.host} too and comes before this one; this one's HTTP routes are not used for it"
        )
        yield Finding(host.key, f"spec.hosts[{host.position}]", reason, host.winner)
    for server in contested_servers(view, ()):
        reason = (
            f"{server.winner} is for the same proxies and comes before this one; it has this port or a host of these"
        )
        yield Finding(server.key, f"spec.servers[{server.position}]", reason, server.winner)


def _unused(view: View) -> Iterator[Finding]:
    """Yield what objects state in place of which another's is used."""
    for rule in overruled(view, ()):
        reason = f"{rule.winner} is for the same host and comes before this one; its is used"
        yield Finding(rule.key, rule.path, reason, rule.winner)
    for kind in ("PeerAuthentication", "Sidecar"):
        for each in superseded(view, kind):
            reason = f"{each.winner} is older and selects the same workloads; it alone is used"
            yield Finding(each.key, each.path, reason, each.winner)


findings: Query[tuple[()], tuple[Finding, ...] | None] = Query(_findings, isolated=True)
"""Every finding there is now, sorted by object; ``None`` where the first attempt to list them failed (our bug)."""
findings.name = "findings"
