"""WorkloadEntries of machines that register themselves: what they are called and what is in them. Pure functions.

Reference: Istio's ``pilot/pkg/autoregistration``. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.apis.kinds import KINDS
from controlplane.apis.workload_entry import WorkloadGroup
from controlplane.model.objects import Object
from controlplane.model.proxy import Proxy

KIND = KINDS["WorkloadEntry"]
GROUP = "istio.io/autoRegistrationGroup"
CONTROLLER = "istio.io/workloadController"
CONNECTED = "istio.io/connectedAt"
DISCONNECTED = "istio.io/disconnectedAt"
HEALTH_CHECKS = "proxy.istio.io/health-checks-enabled"
HEALTHY = "Healthy"
_TRUE = frozenset({"true", "1", "t"})
_LONGEST_NAME = 253
_LOCALITY_LABEL = "istio-locality"
_UNGUARDED = 1.5
"""How many times the longest age of a connection an entry stays whose control plane and machine both died."""

Json = dict[str, Any]


def entry_name(group: str, proxy: Proxy) -> str:
    """Return what the entry of a machine is called."""
    network = f"-{proxy.network}" if proxy.network else ""
    return f"{group}-{proxy.ips[0].replace(':', '-')}{network}"[-_LONGEST_NAME:]


def entry_of(group: Object, uid: str, proxy: Proxy, connection: Mapping[str, str]) -> Json:
    """Return the entry of a machine; ``connection`` are annotations that say who serves it, and since when."""
    spec: WorkloadGroup = group.spec
    template, metadata = spec.template, spec.metadata
    labels = {**template.labels, **(metadata.labels if metadata is not None else {}), **proxy.labels}
    labels.pop(_LOCALITY_LABEL, None)
    if proxy.metadata.get("ENABLE_HBONE") is True:
        labels["networking.istio.io/tunnel"] = "http"
    annotations = {**(metadata.annotations if metadata is not None else {}), GROUP: group.meta.name, **connection}
    config = proxy.metadata.get("PROXY_CONFIG")
    if isinstance(config, Mapping) and config.get("readinessProbe"):
        annotations[HEALTH_CHECKS] = "true"
    locality = proxy.locality
    place = f"{locality.region}/{locality.zone}/{locality.subzone}".rstrip("/") if locality.region else ""
    stated = {
        "address": proxy.ips[0],
        "ports": dict(template.ports),
        "labels": labels,
        "weight": template.weight,
        "serviceAccount": template.service_account,
        "network": proxy.network or template.network,
        "locality": place or template.locality,
    }
    owner = {"apiVersion": f"{KIND.group}/{KINDS['WorkloadGroup'].versions[0]}", "kind": "WorkloadGroup"}
    return {
        "apiVersion": f"{KIND.group}/{KIND.versions[0]}",
        "kind": "WorkloadEntry",
        "metadata": {
            "name": entry_name(group.meta.name, proxy),
            "namespace": group.meta.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner | {"name": group.meta.name, "uid": uid, "controller": True}],
        },
        "spec": {name: value for name, value in stated.items() if value},
    }


def condition(problem: str, before: Any, now: str) -> list[Json]:  # noqa: ANN401 - a status, or None
    """Return all conditions of an entry with ``Healthy``; an empty problem is none."""
    held = _conditions(before)
    old = next((each for each in held if each.get("type") == HEALTHY), {})
    status = "False" if problem else "True"
    since = old.get("lastTransitionTime", now) if old.get("status") == status else now
    new = {"type": HEALTHY, "status": status, "lastProbeTime": now, "lastTransitionTime": since}
    if problem:
        new["message"] = problem
    return [*(each for each in held if each.get("type") != HEALTHY), new]


def without_health(before: Any) -> list[Json]:  # noqa: ANN401 - as above
    """Return the other conditions of an entry."""
    return [each for each in _conditions(before) if each.get("type") != HEALTHY]


def _conditions(status: Any) -> list[Json]:  # noqa: ANN401 - as above
    held = status.get("conditions") if isinstance(status, Mapping) else None
    return [each for each in held or () if isinstance(each, dict)]


def takes_health(annotations: Mapping[str, str]) -> bool:
    """Whether a machine that names this entry may say how it is: somebody has written it so, and no machine has."""
    return not annotations.get(GROUP) and annotations.get(HEALTH_CHECKS, "").lower() in _TRUE


def is_due(annotations: Mapping[str, str], now: datetime, grace: timedelta, max_age: timedelta) -> bool:
    """Whether an entry goes: its machine left longer than ``grace`` ago, or nobody has looked after it for too long.

    An entry that was written by hand stays.
    """
    if not annotations.get(GROUP):
        return False
    left = read_time(annotations.get(DISCONNECTED, ""))
    if left is not None:
        return now - left >= grace
    connected = read_time(annotations.get(CONNECTED, ""))
    return connected is not None and now - connected > max_age * _UNGUARDED


def written_time(moment: datetime) -> str:
    """Write a time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_time(text: str) -> datetime | None:
    """Read a time that this control plane or istiod has written, ``None`` where it is none."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    try:
        return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")
    except ValueError:
        return None
