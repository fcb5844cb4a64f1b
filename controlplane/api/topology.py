"""The picture of a mesh: gateways and services, where traffic is led, and who may call whom by policy.

It shows what objects state, not what was called. A policy is drawn to each service with an endpoint that it is for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from controlplane.admin.pace import PAUSE, Pause
from controlplane.admin.sources import AdminSources
from controlplane.api.models import Edge, Node, ObjectName, Topology
from controlplane.apis.authorization_policy import Action, AuthorizationPolicy, Rule, Source
from controlplane.apis.virtual_service import Destination, VirtualService
from controlplane.model import kinds
from controlplane.model.objects import Object
from controlplane.model.service import Service

MOST_SERVICES = 200
MOST_EDGES = 2_000
ANYBODY = "anybody"
_MESH = "mesh"
_WHOLE = 100.0
_SA = 4


class Picture:
    """Gathers nodes and edges of the services of one namespace, of all with an empty one."""

    def __init__(self, sources: AdminSources, namespace: str) -> None:
        self._sources = sources
        self._namespace = namespace
        self._services: dict[str, Service] = {}
        self._short: dict[tuple[str, str], str] = {}
        self._of_namespace: defaultdict[str, list[Service]] = defaultdict(list)
        self._nodes: dict[str, Node] = {}
        self._edges: dict[Edge, None] = {}
        self._left_out = 0

    def drawn(self) -> Iterator[Topology | Pause]:
        """Yield pauses, and at the end the picture."""
        for service in self._sources.services():
            yield PAUSE
            self._add_service(service)
        for obj in self._sources.objects():
            yield PAUSE
            if obj.kind == kinds.VIRTUAL_SERVICE:
                self._routes(obj, obj.spec)
            elif obj.kind == kinds.AUTHORIZATION_POLICY:
                yield from self._policy(obj, obj.spec)
        nodes = sorted(self._nodes.values(), key=lambda node: (node.sort, node.namespace, node.name))
        edges = sorted(self._edges, key=lambda edge: (edge.source, edge.target, edge.sort))
        yield Topology(nodes=nodes, edges=edges, left_out=self._left_out)

    def _add_service(self, service: Service) -> None:
        if self._namespace not in {"", service.namespace}:
            return
        if len(self._services) >= MOST_SERVICES:
            self._left_out += 1
            return
        self._services[service.hostname] = service
        if service.kubernetes:
            self._short[service.name, service.namespace] = service.hostname
        self._of_namespace[service.namespace].append(service)
        name = service.name if service.kubernetes else service.hostname
        self._node("service", service.hostname, name, service.namespace)

    def _node(self, sort: str, id_: str, name: str, namespace: str) -> str:
        id_ = f"{sort}:{id_}"
        if id_ not in self._nodes:
            self._nodes[id_] = Node(id=id_, sort=sort, name=name, namespace=namespace)
        return id_

    def _edge(self, sort: str, source: str, target: str, obj: Object, led: _Led | None = None) -> None:
        percent, subset, rule = (led.share, led.to.subset, led.rule) if led is not None else (_WHOLE, "", "")
        if len(self._edges) < MOST_EDGES:
            name = ObjectName.of(obj.key)
            edge = Edge(sort=sort, source=source, target=target, percent=percent, subset=subset, object=name, rule=rule)
            self._edges[edge] = None

    def _named(self, host: str, namespace: str) -> str | None:
        """Return the node of a host, as an object of a namespace calls it."""
        first, _, rest = host.partition(".")
        known = host if host in self._services else self._short.get((first, rest.partition(".")[0] or namespace))
        return None if known is None else f"service:{known}"

    def _routes(self, obj: Object, spec: VirtualService) -> None:
        namespace = obj.meta.namespace
        origins: list[str] = []
        for gateway in spec.gateways or (_MESH,):
            if gateway == _MESH:
                origins += filter(None, (self._named(host, namespace) for host in spec.hosts))
            else:
                of, slash, name = gateway.rpartition("/")
                of = of if slash else namespace
                origins.append(self._node("gateway", f"{of}/{name}", name, of))
        for led in _destinations(spec):
            target = self._named(led.to.host, namespace)
            for origin in origins if target is not None else ():
                if origin != target or led.to.subset:
                    self._edge("routes", origin, target or "", obj, led)

    def _policy(self, obj: Object, spec: AuthorizationPolicy) -> Iterator[Pause]:
        if spec.action not in {Action.ALLOW, Action.DENY} or spec.target_ref is not None or spec.target_refs:
            return
        labels = spec.selector.match_labels if spec.selector is not None else {}
        callers = sorted({caller for rule in spec.rules for caller in _callers(rule)})
        for service in self._of_namespace[obj.meta.namespace]:
            yield PAUSE
            if self._selected(service, labels):
                for namespace, name in callers:
                    caller = self._node("caller", f"{namespace}/{name}", name, namespace)
                    sort = "allows" if spec.action is Action.ALLOW else "denies"
                    self._edge(sort, caller, f"service:{service.hostname}", obj)

    def _selected(self, service: Service, labels: Mapping[str, str]) -> bool:
        if not labels:
            return True
        return any(labels.items() <= each.labels.items() for each in self._sources.endpoints(service))


class _Led(NamedTuple):
    """Where a rule of a VirtualService leads to, how much of its traffic, in percent, and the rule's name."""

    to: Destination
    share: float
    rule: str


def _destinations(spec: VirtualService) -> Iterator[_Led]:
    """Yield where a VirtualService leads to."""
    for rules in (spec.http, spec.tls, spec.tcp):
        for rule in rules:
            total = sum(choice.weight for choice in rule.route)
            for choice in rule.route:
                if choice.weight or not total:
                    share = _WHOLE * choice.weight / total if total else _WHOLE / len(rule.route)
                    yield _Led(choice.destination, share, getattr(rule, "name", ""))


def _callers(rule: Rule) -> Iterator[tuple[str, str]]:
    """Yield whom a rule is about, as namespace and name; who is not named by identity is anybody."""
    if not rule.from_:
        yield "", ANYBODY
    for each in rule.from_:
        yield from _named_callers(each.source) if each.source is not None else [("", ANYBODY)]


def _named_callers(source: Source) -> Iterator[tuple[str, str]]:
    named = False
    for principal in source.principals:
        named = True
        parts = principal.split("/")
        is_account = len(parts) > _SA and parts[-4] == "ns" and parts[-2] == "sa"
        yield (parts[-3], parts[-1]) if is_account else ("", principal)
    for account in source.service_accounts:
        named = True
        namespace, _, name = account.rpartition("/")
        yield namespace, name
    for namespace in source.namespaces:
        named = True
        yield namespace, f"all of {namespace}"
    if not named:
        yield "", ANYBODY
