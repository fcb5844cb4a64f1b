"""Locality load balancing: weights by distribution, priorities by region or by labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.apis.destination_rule import ZoneAwareLoadBalancerSetting
from controlplane.apis.mesh import MeshConfig
from controlplane.model.proxy import Locality
from controlplane.model.service import Endpoint, Service
from controlplane.registry.destination_rules import Policy

NETWORK = "topology.istio.io/network"
ZONE_PRIORITY = (NETWORK, "topology.kubernetes.io/region", "topology.kubernetes.io/zone")
NODE_PRIORITY = (*ZONE_PRIORITY, "topology.istio.io/subzone", "kubernetes.io/hostname")


@dataclass(frozen=True, slots=True)
class LocalitySetting:
    """The setting in force: ``forced`` turns failover on without outlier detection. Members are ``apis`` models.

    ``zones`` is set where Envoy itself is to prefer the client's zone, as far as its endpoints can carry the load.
    """

    distribute: tuple[Any, ...] = ()
    failover: tuple[Any, ...] = ()
    failover_priority: tuple[str, ...] = ()
    forced: bool = False
    outlier: bool = False
    zones: ZoneAwareLoadBalancerSetting | None = None

    @property
    def fails_over(self) -> bool:
        """Whether priorities are assigned."""
        if self.zones is not None:
            return self.zones.enabled is not False
        return self.forced or self.outlier

    @property
    def weighted(self) -> bool:
        """Whether the cluster needs ``locality_weighted_lb_config``."""
        if self.zones is not None:
            return False
        return bool(self.distribute) or (self.fails_over and bool(self.failover or self.failover_priority))

    @property
    def depends_on_client(self) -> bool:
        """Whether where the client runs makes a difference."""
        return bool(self.distribute) or self.fails_over


def locality_setting(mesh: MeshConfig, service: Service, policy: Policy) -> LocalitySetting | None:
    """Return the setting in force: the rule's, else the service's traffic distribution, else the mesh's.

    At each of the rule and the mesh, zone awareness goes before locality.
    """
    outlier = policy.outlier_detection is not None
    balancer = policy.load_balancer
    if balancer is not None and balancer.zone_aware_lb_setting is not None:
        return _zone_aware(balancer.zone_aware_lb_setting)
    stated = balancer.locality_lb_setting if balancer is not None else None
    if stated is None and service.traffic_distribution:
        labels = NODE_PRIORITY if service.traffic_distribution == "node" else ZONE_PRIORITY
        return LocalitySetting(failover_priority=labels, forced=True, outlier=outlier)
    if stated is None and mesh.zone_aware_lb_setting is not None:
        return _zone_aware(mesh.zone_aware_lb_setting)
    if stated is None:
        stated = mesh.locality_lb_setting
    if stated is None or stated.enabled is False:
        return None
    return LocalitySetting(
        tuple(stated.distribute), tuple(stated.failover), tuple(stated.failover_priority), outlier=outlier
    )


def _zone_aware(stated: ZoneAwareLoadBalancerSetting) -> LocalitySetting:
    return LocalitySetting(failover=stated.failover, failover_priority=stated.failover_priority, zones=stated)


@dataclass(slots=True)
class Group:
    """Endpoints of one locality and priority. ``weight`` is relative among localities of the priority."""

    locality: Locality
    endpoints: list[Endpoint]
    weight: int
    priority: int = 0


def apply(groups: list[Group], setting: LocalitySetting, client: Locality, labels: Mapping[str, str]) -> list[Group]:
    """Return the groups with weights and priorities as the setting asks, for a client at this place."""
    if setting.distribute:
        _distribute(groups, setting.distribute, client)
        return groups
    if not setting.fails_over:
        return groups
    if setting.failover_priority:
        groups = _by_labels(groups, setting.failover_priority, labels)
    if setting.zones is not None:
        _around_zones(groups, setting.failover, client)
    elif setting.failover or not setting.failover_priority:
        _by_region(groups, setting.failover, client)
    return groups


def _around_zones(groups: list[Group], failover: Sequence[Any], client: Locality) -> None:
    """Keep a region's zones together, so that Envoy may choose among them; then the region to fail over to."""
    towards = {rule.to for rule in failover if (rule.from_ or "") == client.region}
    for group in groups:
        region = group.locality.region
        place = 0 if region == client.region else 1 if region in towards else 2
        group.priority = group.priority * 3 + place
    _compress(groups)


def _matches(pattern: str, locality: Locality) -> bool:
    if pattern == "*":
        return True
    wanted = [*pattern.split("/"), "*", "*"][:3]
    actual = (locality.region, locality.zone, locality.subzone)
    return all(want in ("*", "", have) for want, have in zip(wanted, actual, strict=True))


def _distribute(groups: list[Group], distribute: Sequence[Any], client: Locality) -> None:
    rule = next((rule for rule in distribute if _matches(rule.from_ or "", client)), None)
    if rule is None:
        return
    taken: set[int] = set()
    for pattern, percent in sorted((rule.to or {}).items(), reverse=True):
        held = [index for index, group in enumerate(groups) if index not in taken and _matches(pattern, group.locality)]
        total = sum(groups[index].weight for index in held)
        for index in held:
            taken.add(index)
            groups[index].weight = math.ceil(groups[index].weight * percent / total) if total else 0
    for index, group in enumerate(groups):
        if index not in taken:
            group.endpoints = []


def _by_region(groups: list[Group], failover: Sequence[Any], client: Locality) -> None:
    towards = next((rule.to for rule in failover if (rule.from_ or "") == client.region), None)

    def place(group: Group) -> int:
        there = group.locality
        if there.region != client.region:
            return 4 if towards is not None and there.region != towards else 3
        if there.zone != client.zone:
            return 2
        return 0 if there.subzone == client.subzone else 1

    for group in groups:
        group.priority = group.priority * 5 + place(group)
    _compress(groups)


def _compress(groups: Iterable[Group]) -> None:
    held = list(groups)
    order = {raw: index for index, raw in enumerate(sorted({group.priority for group in held}))}
    for group in held:
        group.priority = order[group.priority]


def _by_labels(groups: list[Group], priorities: Sequence[str], labels: Mapping[str, str]) -> list[Group]:
    rank = _label_rank(priorities, labels)
    result: list[Group] = []
    for group in groups:
        split: dict[int, list[Endpoint]] = {}
        for endpoint in group.endpoints:
            split.setdefault(rank(endpoint), []).append(endpoint)
        result += [
            Group(group.locality, held, sum(endpoint.weight for endpoint in held), priority)
            for priority, held in sorted(split.items())
        ]
    _compress(result)
    return result


def _label_rank(priorities: Sequence[str], labels: Mapping[str, str]) -> Callable[[Endpoint], int]:
    wanted = []
    for text in priorities:
        name, _, value = text.partition("=")
        wanted.append((name, value or labels.get(name, "")))

    def rank(endpoint: Endpoint) -> int:
        names, base = wanted, 0
        if names and names[0][0] == NETWORK and endpoint.labels.get(NETWORK, "") != names[0][1]:
            base, names = len(wanted), names[1:]
        for index, (name, value) in enumerate(names):
            if endpoint.labels.get(name, "") != value:
                return base + len(names) - index
        return base

    return rank
