"""Rules of load balancing: hashing, localities and warm-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.validation.overlaps import overlapping_localities

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from controlplane.apis.destination_rule import (
        ConsistentHashLB,
        LoadBalancerSettings,
        LocalityDistribute,
        LocalityFailover,
        LocalityLoadBalancerSetting,
    )
    from controlplane.apis.validation.report import Report

MAX_TABLE_SIZE = 5_000_011
MAX_RING_SIZE = 8_388_608
_REGIONAL = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


def check_load_balancer(
    report: Report, path: str, settings: LoadBalancerSettings, *, has_outlier_detection: bool
) -> None:
    """Check one load balancer; failing over needs outlier detection to notice failures."""
    if settings.consistent_hash is not None:
        _check_hash(report, f"{path}.consistentHash", settings.consistent_hash)
    locality = settings.locality_lb_setting
    if locality is not None:
        if settings.zone_aware_lb_setting is not None:
            report.error(path, "localityLbSetting and zoneAwareLbSetting cannot be set together")
        check_locality(report, f"{path}.localityLbSetting", locality, has_outlier_detection=has_outlier_detection)
    zones = settings.zone_aware_lb_setting
    if zones is not None:
        _check_failover(report, f"{path}.zoneAwareLbSetting", zones.failover, zones.failover_priority)
    warmup = settings.warmup
    if warmup is not None and settings.warmup_duration_secs is not None:
        report.warn(f"{path}.warmupDurationSecs", "has no effect beside warmup")
    if warmup is not None and warmup.aggression is not None and warmup.aggression < 1:
        report.error(f"{path}.warmup.aggression", f"{warmup.aggression} must be at least 1")


def _check_hash(report: Report, path: str, settings: ConsistentHashLB) -> None:
    cookie = settings.http_cookie
    if cookie is not None:
        if not cookie.name:
            report.error(f"{path}.httpCookie.name", "must not be empty")
        names: set[str] = set()
        for index, attribute in enumerate(cookie.attributes):
            if not attribute.name or attribute.name in names:
                where = f"{path}.httpCookie.attributes[{index}].name"
                report.error(where, f"{attribute.name!r} is empty or a duplicate")
            names.add(attribute.name)
    if settings.minimum_ring_size:
        if settings.ring_hash is not None or settings.maglev is not None:
            report.error(f"{path}.minimumRingSize", "cannot be set together with ringHash or maglev")
        else:
            report.warn(f"{path}.minimumRingSize", "is deprecated, use ringHash")
    ring = settings.ring_hash.minimum_ring_size if settings.ring_hash is not None else None
    for name, size in (("minimumRingSize", settings.minimum_ring_size), ("ringHash.minimumRingSize", ring)):
        if size is not None and size > MAX_RING_SIZE:
            report.error(f"{path}.{name}", f"{size} must be at most {MAX_RING_SIZE}")
    if settings.maglev is not None:
        size = settings.maglev.table_size or 0
        if not 0 < size < MAX_TABLE_SIZE or not _is_prime(size):
            report.error(f"{path}.maglev.tableSize", f"{size} must be a prime number below {MAX_TABLE_SIZE}")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def check_locality(
    report: Report, path: str, setting: LocalityLoadBalancerSetting, *, has_outlier_detection: bool
) -> None:
    """Distribution, failover by region, or an order of failover; a rule of the mesh's own setting too."""
    if setting.distribute and setting.failover:
        report.error(path, "distribute and failover cannot be set together")
    _check_distribute(report, f"{path}.distribute", setting.distribute)
    _check_failover(report, path, setting.failover, setting.failover_priority)
    if (setting.failover or setting.failover_priority) and not has_outlier_detection:
        report.warn(path, "failover happens only with outlierDetection")


def _check_distribute(report: Report, path: str, rules: Sequence[LocalityDistribute]) -> None:
    _check_localities(report, path, [each.from_ for each in rules])
    for index, each in enumerate(rules):
        where = f"{path}[{index}].to"
        _check_localities(report, where, each.to)
        for locality, weight in each.to.items():
            if not 1 <= weight <= 100:  # noqa: PLR2004 - percent
                report.error(f"{where}.{locality}", f"weight {weight} must be in the range 1-100")
        if sum(each.to.values()) != 100:  # noqa: PLR2004 - percent
            report.error(where, f"weights must sum to 100, not {sum(each.to.values())}")


def _check_localities(report: Report, path: str, localities: Iterable[str]) -> None:
    named = list(localities)
    for locality in named:
        parts = locality.split("/")
        if not all(parts) or "*" in locality.removesuffix("*"):
            report.error(path, f"{locality!r} is not region/zone/subzone, with * only as the last part")
        elif locality.endswith("*") and parts[-1] != "*":
            report.warn(path, f"{locality!r} matches that name alone: * stands for a whole part only")
    for later, earlier in sorted(overlapping_localities(named).items()):
        report.error(path, f"{named[earlier]!r} and {named[later]!r} overlap")


def _check_failover(report: Report, path: str, rules: Sequence[LocalityFailover], priority: Sequence[str]) -> None:
    if rules and any(label in _REGIONAL for label in priority):
        report.error(f"{path}.failoverPriority", "labels of region, zone or subzone cannot be used with failover")
    for index, each in enumerate(rules):
        where = f"{path}.failover[{index}]"
        if each.from_ == each.to:
            report.error(where, f"from and to are both {each.from_!r}")
        for region in (each.from_, each.to):
            if "/" in region or "*" in region:
                report.error(where, f"{region!r} is not a region")
