"""DestinationRules: merging those of one host, choosing the one that applies, and the policy it gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from controlplane.apis.destination_rule import ClientTLSMode, DestinationRule, SimpleLB, Subset, TrafficPolicy
from controlplane.apis.mesh import MeshConfig
from controlplane.documents.words import is_ip
from controlplane.engine.recording import isolated, query
from controlplane.model.objects import Labels, ObjectKey
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Service
from controlplane.registry.mesh import mesh_config
from controlplane.registry.store import View


@dataclass(frozen=True, slots=True)
class Rule:
    """One DestinationRule, or several of the same host and namespace merged; ``sources`` names all of them.

    ``export_to`` is what the rule states, with ``.`` resolved; empty where it leaves that to the mesh.
    """

    host: str
    sources: tuple[ObjectKey, ...]
    export_to: frozenset[str]
    selector: Labels | None = None
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    _by_name: Mapping[str, Subset] = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Note the subsets by name, the first one of each, and the hash."""
        object.__setattr__(self, "_hash", hash(self.sources))
        object.__setattr__(self, "_by_name", {subset.name: subset for subset in reversed(self.subsets)})

    def __hash__(self) -> int:
        """Hash by the objects it was made of; equality still compares every field."""
        return self._hash

    @property
    def key(self) -> ObjectKey:
        """The first object merged: the one that resources name as their origin."""
        return self.sources[0]

    def subset(self, name: str) -> Subset | None:
        """Return the subset of this name, or ``None``."""
        return self._by_name.get(name)


class Hosts(dict[str, tuple[Rule, ...]]):
    """Rules by host; some hosts are wildcards. It does not change once it is made."""

    def __init__(self, rules: Mapping[str, tuple[Rule, ...]] = MappingProxyType({})) -> None:
        """Note how long the wildcards are: that many times it is looked, however many hosts there are."""
        super().__init__(rules)
        self._lengths = sorted({len(host) - 1 for host in rules if host.startswith("*")}, reverse=True)

    def best(self, hostname: str) -> str | None:
        """Return the exact host, else the longest wildcard that covers it."""
        if hostname in self:
            return hostname
        size = len(hostname)
        ends = (f"*{hostname[size - length :]}" for length in self._lengths if length <= size)
        return next((host for host in ends if host in self), None)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one namespace by host, for the three levels of lookup.

    ``unread`` says of objects why it is not known what they rule, which were never read.
    """

    local: Hosts
    exported: Hosts
    private: Hosts
    unread: tuple[str, ...] = ()


def full_host(host: str, namespace: str, domain: str) -> str:
    """Return a host name with short names completed by the namespace and domain of the object that states it."""
    if not host or "." in host or host.startswith("*") or is_ip(host):
        return host.lower()
    return f"{host}.{namespace}.svc.{domain}".lower()


@query
def destination_rules(view: View, namespace: str) -> Rules:
    """Return the merged rules of a namespace, by host and by who may use them."""
    private_unless_stated = "." in mesh_config(view).default_destination_rule_export_to
    objects = [obj for key in view.index("destination_rules_in", namespace) if (obj := view.get(key))]
    objects.sort(key=lambda obj: (obj.spec.workload_selector is None, obj.age_order))
    levels: tuple[dict[str, list[_Merging]], ...] = ({}, {}, {})
    unread: list[str] = []
    for obj in objects:
        outcome = stated_rule.outcome(view, obj.key)
        if not outcome.built:
            unread.append(f"{obj.key}: {outcome.failure}")
        rule = outcome.value
        if rule is None:
            continue
        private = rule.export_to == {namespace} if rule.export_to else private_unless_stated
        if not rule.export_to or rule.export_to & {"*", namespace}:
            _merge(levels[0].setdefault(rule.host, []), rule)
        _merge(levels[2 if private else 1].setdefault(rule.host, []), rule)
    local, exported, only = (
        Hosts({host: tuple(rule.merged() for rule in rules) for host, rules in level.items()}) for level in levels
    )
    return Rules(local, exported, only, tuple(unread))


@isolated
def stated_rule(view: View, key: ObjectKey) -> Rule | None:
    """Return what one DestinationRule states; ``None`` if it is gone."""
    obj = view.get(key)
    if obj is None:
        return None
    spec: DestinationRule = obj.spec
    namespace = obj.meta.namespace
    selector = spec.workload_selector
    stated = frozenset(namespace if name == "." else name for name in spec.export_to)
    if selector is not None:
        stated = frozenset({namespace})
    return Rule(
        host=full_host(spec.host, namespace, view.domain),
        sources=(obj.key,),
        export_to=stated,
        selector=dict(selector.match_labels or {}) if selector is not None else None,
        traffic_policy=spec.traffic_policy,
        subsets=tuple(spec.subsets),
    )


class _Merging:
    """A rule, and those of the same host that are merged into it."""

    def __init__(self, first: Rule) -> None:
        self.first = first
        self._sources = [*first.sources]
        self._policy = first.traffic_policy
        self._subsets = [*first.subsets]
        self._names = {subset.name for subset in first.subsets}

    def add(self, rule: Rule) -> None:
        """Take the subsets of another that are not there yet, and its policy where there is none."""
        self._sources += rule.sources
        self._policy = self._policy if self._policy is not None else rule.traffic_policy
        self._subsets += [subset for subset in rule.subsets if subset.name not in self._names]
        self._names.update(subset.name for subset in rule.subsets)

    def merged(self) -> Rule:
        """Return what has become of it."""
        if len(self._sources) == len(self.first.sources):
            return self.first
        made, sources = tuple(self._subsets), tuple(self._sources)
        return replace(self.first, sources=sources, traffic_policy=self._policy, subsets=made)


def _merge(held: list[_Merging], rule: Rule) -> None:
    """Merge a rule into every one of the same host that it fits; what the last of them makes of it counts.

    It fits those that are exported to the same namespaces or, where they say to which, to fewer. Of rules that select
    workloads only those with the same selector fit, and one without stays a rule of its own besides.
    """
    apart = True
    for merging in held:
        first = merging.first
        same = first.export_to == rule.export_to
        wider = bool(first.export_to) and first.export_to <= rule.export_to
        if not (same or wider) or _selects_others(first, rule):
            apart = True
            continue
        apart = not (same or (first.selector is None) == (rule.selector is None))
        merging.add(rule)
    if apart:
        held.append(_Merging(rule))


def _selects_others(first: Rule, rule: Rule) -> bool:
    return first.selector is not None and rule.selector is not None and first.selector != rule.selector


def most_specific(hosts: Iterable[str], hostname: str) -> str | None:
    """Return the host that matches best: the exact one, else the longest wildcard that covers it."""
    held = hosts if isinstance(hosts, Hosts) else Hosts(dict.fromkeys(hosts, ()))
    return held.best(hostname)


class Lookup(NamedTuple):
    """Which rules a client namespace finds for a host that belongs to a service namespace."""

    client: str
    hostname: str
    namespace: str


@query
def rules_for(view: View, key: Lookup) -> tuple[Rule, ...]:
    """Return the rules that the first level with a match gives: client namespace, service namespace, root."""
    root = mesh_config(view).root_namespace
    own = destination_rules(view, key.client)
    found = own.private if key.client == root else own.local
    host = most_specific(found, key.hostname)
    if host is not None:
        return found[host]
    for namespace in dict.fromkeys((key.namespace, root)):
        if not namespace:
            continue
        exported = destination_rules(view, namespace).exported
        host = most_specific(exported, key.hostname)
        if host is not None:
            visible = tuple(
                rule
                for rule in exported[host]
                if not rule.export_to or "*" in rule.export_to or key.client in rule.export_to
            )
            if visible:
                return visible
    return ()


@query
def made_of(view: View, rule: Rule) -> tuple[ObjectKey, ...]:
    """Return the objects of a rule; who has the rule from a key reads it here, so that its objects are told."""
    for source in rule.sources:
        view.get(source)
    return rule.sources


def rule_for(view: View, client: ClientScope, service: Service) -> Rule | None:
    """Return the rule this client uses for the service: one that selects the client's workload, else a general one."""
    chosen: Rule | None = None
    for rule in rules_for(view, Lookup(client.namespace, service.hostname, service.namespace)):
        if rule.selector is None:
            chosen = rule
        elif rule.key.namespace == client.namespace and client.has_labels(dict(rule.selector)):
            return rule
    return chosen


def inbound_rule_for(view: View, service: Service) -> Rule | None:
    """Return the rule that shapes the inbound side of a service; rules that select workloads do not count."""
    found = rules_for(view, Lookup(service.namespace, service.hostname, service.namespace))
    return next((rule for rule in reversed(found) if rule.selector is None), None)


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy in force for one port and subset; ``None`` members are not stated. Members are ``apis`` models."""

    connection_pool: Any = None
    load_balancer: Any = None
    outlier_detection: Any = None
    tls: Any = None
    tunnel: Any = None
    proxy_protocol: Any = None
    retry_budget: Any = None


_PORT_LEVEL = ("connection_pool", "load_balancer", "outlier_detection", "tls")
_ALL = (*_PORT_LEVEL, "tunnel", "proxy_protocol", "retry_budget")


def is_direct(policy: Policy | TrafficPolicy | None) -> bool:
    """Whether a policy sends connections to the address they were meant for, whatever endpoints are known."""
    balancer = policy.load_balancer if policy is not None else None
    return balancer is not None and balancer.simple is SimpleLB.PASSTHROUGH


def policy_for(mesh: MeshConfig, rule: Rule | None, subset: str, port: int) -> Policy:
    """Return the policy in force: port level replaces rule level, the mesh fills gaps, the subset overlays both.

    A subset of a host that is reached directly is so too, whatever balancer it states.
    """
    policy = _stated(rule.traffic_policy if rule is not None else None, port)
    baseline = mesh.default_traffic_policy
    if baseline is not None:
        policy = replace(
            policy,
            connection_pool=policy.connection_pool or baseline.connection_pool,
            outlier_detection=policy.outlier_detection or baseline.outlier_detection,
        )
    found = rule.subset(subset) if rule is not None and subset else None
    if found is None or found.traffic_policy is None:
        return policy
    overlay: dict[str, Any] = {
        name: value for name in _ALL if (value := getattr(found.traffic_policy, name)) is not None
    }
    level = _port_level(found.traffic_policy, port)
    if level is not None:
        overlay |= {name: getattr(level, name) for name in _PORT_LEVEL}
    if is_direct(policy):
        overlay["load_balancer"] = policy.load_balancer
    return replace(policy, **overlay)


def stated_tls_mode(rule: Rule | None, subset: str, port: int) -> ClientTLSMode | None:
    """Return the mode that decides which endpoints are called with mutual TLS, ``None`` where no rule states one.

    Unlike ``policy_for``, what a port or subset leaves open is looked up further out.
    """
    if rule is None:
        return None
    found = rule.subset(subset) if subset else None
    for policy in (found.traffic_policy if found is not None else None, rule.traffic_policy):
        if policy is None:
            continue
        level = _port_level(policy, port)
        settings = level.tls if level is not None and level.tls is not None else policy.tls
        if settings is not None:
            mode: ClientTLSMode = settings.mode
            return mode
    return None


_UNSTATED = Policy()


def _stated(traffic_policy: TrafficPolicy | None, port: int) -> Policy:
    if traffic_policy is None:
        return _UNSTATED
    level = _port_level(traffic_policy, port)
    if level is not None:
        return Policy(**{name: getattr(level, name) for name in _PORT_LEVEL})
    return Policy(**{name: getattr(traffic_policy, name) for name in _ALL})


def _port_level(traffic_policy: TrafficPolicy, port: int) -> Any:  # noqa: ANN401 - an apis model or None
    return next(
        (level for level in traffic_policy.port_level_settings if level.port is not None and level.port.number == port),
        None,
    )
