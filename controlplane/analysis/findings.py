"""Findings: objects that are valid and used, and that do not do what their author wants because of another object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from controlplane.analysis import codes
from controlplane.analysis.contested_hosts import contested_hosts
from controlplane.analysis.contested_servers import contested_servers
from controlplane.analysis.missing import destinations, gateway_of_nobody, missing_destinations, missing_gateways
from controlplane.analysis.nobody import ForNobody, for_nobody, selecting, workload_namespaces
from controlplane.analysis.overruled import overruled
from controlplane.analysis.superseded import superseded
from controlplane.analysis.unasked_authorisers import PATH as UNASKED_PATH
from controlplane.analysis.unasked_authorisers import unasked_authoriser
from controlplane.analysis.unheeded_telemetry import unheeded_telemetry
from controlplane.analysis.unserved_credentials import unserved_credentials
from controlplane.apis.virtual_service import Destination
from controlplane.engine.recording import Query, query
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.registry.destination_rules import Lookup, rules_for
from controlplane.registry.services import best_namespace, visible_by_host
from controlplane.registry.store import Registry, View
from controlplane.registry.virtual_services import ResolvedVirtualService, large_delegates, undelegated


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake in one object: ``path`` of the field as ``spec.http[0].route[1].destination.subset``, and why.

    ``winner`` is the object that is used for what this field says, ``None`` where the field is used itself. ``code`` is
    that of ``codes``, empty where there is none.
    """

    key: ObjectKey
    path: str
    reason: str
    winner: ObjectKey | None = field(default=None, compare=False)
    code: str = field(default="", compare=False)


@query
def missing_subsets(view: View, key: ObjectKey) -> tuple[Finding, ...]:
    """Return the destinations of a VirtualService whose subset no DestinationRule names, in order of their paths.

    The rules are those that clients of the object's own namespace find; clients elsewhere may find others. Such a
    destination stays in the route with the name of a cluster that does not exist: Envoy answers with 503.
    """
    held: ResolvedVirtualService | None = undelegated.outcome(view, key).value  # what is unread is told elsewhere
    if held is None:
        return ()
    return tuple(
        Finding(
            key,
            f"{path}.subset",
            f"no DestinationRule for {destination.host} that namespace {key.namespace} sees has a subset named"
            f' "{destination.subset}"; what is sent there is answered with 503',
            code=codes.NOT_FOUND.id,
        )
        for path, destination in destinations(held)
        if destination.subset and not _named(view, key.namespace, destination)
    )


@query
def missing_delegates(view: View, key: ObjectKey) -> tuple[tuple[str, str], ...]:
    """Return the rules of a VirtualService that delegate to nothing: the path of the field, and what it names."""
    obj = view.get(key)
    if obj is None:
        return ()
    named = (
        (f"spec.http[{at}].delegate", rule.delegate.namespace or key.namespace, rule.delegate.name)
        for at, rule in enumerate(obj.spec.http)
        if rule.delegate is not None and rule.delegate.name
    )
    return tuple(
        (path, f"{namespace}/{name}")
        for path, namespace, name in named
        if view.object(kinds.VIRTUAL_SERVICE, namespace, name) is None
    )


def _named(view: View, namespace: str, destination: Destination) -> bool:
    host = _led_to(view, destination.host)
    lookup = Lookup(namespace, host, _namespace_of(view, host, namespace))
    return any(rule.subset(destination.subset) is not None for rule in rules_for(view, lookup))


def _led_to(view: View, host: str) -> str:
    """Return the host that an ExternalName service leads to, any other as it is; only Services on the way are read."""
    seen: set[str] = set()
    while host not in seen:
        seen.add(host)
        name, found, _ = host.partition(f".svc.{view.domain}")
        service, _, namespace = name.partition(".")
        obj = view.object(kinds.SERVICE, namespace, service) if found else None
        if obj is None or obj.spec.type != "ExternalName":
            return host
        host = obj.spec.external_name.lower()
    return host


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
    missing = [finding for key in view.keys(kinds.VIRTUAL_SERVICE) for finding in missing_subsets(view, key)]
    unserved = (Finding(*part) for parts in view.frontends.unserved for part in parts(view, ()))
    found = sorted((*missing, *_lost(view), *_unused(view), *_of_nothing(view), *unserved), key=lambda each: each.key)
    return tuple(found)


def _of_nothing(view: View) -> Iterator[Finding]:
    """Yield what refers to objects or workloads that are not there.

    Where no workload is known at all, as in a directory without Pods, nobody knows whom a selector is for.
    """
    for key in view.keys(kinds.VIRTUAL_SERVICE):
        for path, delegate in missing_delegates(view, key):
            reason = codes.DELEGATE_NOT_FOUND.sentence.format(delegate=delegate)
            yield Finding(key, path, reason, code=codes.DELEGATE_NOT_FOUND.id)
        for path, delegate in large_delegates(view, key):
            reason = codes.DELEGATE_TOO_LARGE.sentence.format(delegate=delegate)
            yield Finding(key, path, reason, code=codes.DELEGATE_TOO_LARGE.id)
        for each in (*missing_destinations(view, key), *missing_gateways(view, key)):
            yield Finding(key, each.path, each.reason, code=each.code)
    if not workload_namespaces(view, ()):
        return
    for key in selecting(view):
        if (nobody := for_nobody(view, key)) is not None:
            yield of_nobody(nobody)
    for key in view.keys(kinds.GATEWAY):
        if (nobody := gateway_of_nobody(view, key)) is not None:
            yield of_nobody(nobody)


def of_nobody(nobody: ForNobody) -> Finding:
    """Return the finding that an object is for nobody; that of a Gateway has Istio's own code."""
    if nobody.key.kind == kinds.GATEWAY:
        reason = codes.NOT_FOUND.sentence.format(kind="selector", value=nobody.text)
        return Finding(nobody.key, nobody.path, reason, code=codes.NOT_FOUND.id)
    reason = codes.SELECTS_NOBODY.sentence.format(where=nobody.where, labels=nobody.text)
    return Finding(nobody.key, nobody.path, reason, code=codes.SELECTS_NOBODY.id)


def without_connected(registry: Registry, found: Iterable[Finding], connected: Iterable[Proxy]) -> tuple[Finding, ...]:
    """Return findings but for those of nobody where a proxy is connected that has the labels: it needs no Pod."""
    held = tuple(found)
    if not any(map(is_about_proxies, held)):
        return held
    proxies = [(proxy.namespace, dict(proxy.labels).items()) for proxy in connected]

    def is_for_a_proxy(each: Finding) -> bool:
        asked = gateway_of_nobody if each.key.kind == kinds.GATEWAY else for_nobody
        nobody = registry.memo.outcome(asked, each.key).value
        return nobody is not None and any(nobody.is_for(*proxy) for proxy in proxies)

    return tuple(each for each in held if not is_about_proxies(each) or not is_for_a_proxy(each))


def is_about_proxies(finding: Finding) -> bool:
    """Whether a finding holds only as long as no proxy is connected that an object is for."""
    of_gateway = finding.key.kind == kinds.GATEWAY and finding.path == "spec.selector"
    return finding.code == codes.SELECTS_NOBODY.id or of_gateway


def _lost(view: View) -> Iterator[Finding]:
    """Yield what objects share with others and do not get."""
    for host in contested_hosts(view, ()):
        reason = (
            f"{host.winner} has {host.host} too and comes before this one; this one's HTTP routes are not used for it"
        )
        yield Finding(host.key, f"spec.hosts[{host.position}]", reason, host.winner, codes.CONFLICTING_MESH_HOSTS.id)
    for server in contested_servers(view, ()):
        reason = (
            f"{server.winner} is for the same proxies and comes before this one; it has this port or a host of these"
        )
        yield Finding(
            server.key, f"spec.servers[{server.position}]", reason, server.winner, codes.CONFLICTING_GATEWAYS.id
        )


def _unused(view: View) -> Iterator[Finding]:
    """Yield what objects state in place of which another's is used."""
    for rule in overruled(view, ()):
        reason = codes.OVERRULED.sentence.format(winner=rule.winner)
        yield Finding(rule.key, rule.path, reason, rule.winner, codes.OVERRULED.id)
    for credential in unserved_credentials(view, ()):
        yield Finding(*credential)
    for key in view.index("policies_that_ask", ()):
        if reason := unasked_authoriser(view, key):
            told = codes.AUTHORISER_NOT_ASKED.sentence.format(reason=reason)
            yield Finding(key, UNASKED_PATH, told, code=codes.AUTHORISER_NOT_ASKED.id)
    for key in view.keys(kinds.TELEMETRIES):
        yield from (Finding(*each) for each in unheeded_telemetry(view, key))
    for kind in (kinds.PEER_AUTHENTICATION, kinds.SIDECAR):
        for each in superseded(view, kind):
            reason = codes.SUPERSEDED.sentence.format(winner=each.winner)
            yield Finding(each.key, each.path, reason, each.winner, codes.SUPERSEDED.id)


findings: Query[tuple[()], tuple[Finding, ...]] = Query(_findings, isolated=True)
"""Every finding there is now, sorted by object."""
findings.name = "findings"


_OF_VIRTUAL_SERVICES = (missing_subsets, missing_delegates, large_delegates, missing_destinations, missing_gateways)


def prepared_findings(registry: Registry) -> Iterator[None]:
    """Bring what findings are made of up to date, step by step; asking for all of them takes a moment then.

    What cannot be found (our bug) is told where it is asked for.
    """
    parts: list[tuple[Query[Any, Any], Any]] = [
        *((part, key) for key in registry.keys(kinds.VIRTUAL_SERVICE) for part in _OF_VIRTUAL_SERVICES),
        *((for_nobody, key) for key in registry.indexed("selecting", ())),
        *((gateway_of_nobody, key) for key in registry.keys(kinds.GATEWAY)),
        *((unasked_authoriser, key) for key in registry.indexed("policies_that_ask", ())),
        *((unheeded_telemetry, key) for key in registry.keys(kinds.TELEMETRIES)),
        *((found, ()) for found in (contested_hosts, contested_servers, overruled, unserved_credentials)),
        *((superseded, kind) for kind in (kinds.PEER_AUTHENTICATION, kinds.SIDECAR)),
    ]
    for part, key in parts:
        registry.memo.outcome(part, key)
        yield
