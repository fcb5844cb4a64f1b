"""Outcomes in words: what JSON says of them, and the last line of an explanation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from controlplane.simulate.call import Destination, Failure, Fate, Outcome, Place
from controlplane.simulate.filters import shown

FLAGS = {
    "NR": "no route",
    "NC": "no cluster",
    "UH": "no healthy upstream",
    "UF": "no connection to the server",
    "UC": "the server closed the connection",
    "DPE": "protocol error",
}
"""Envoy's response flags, as words."""
_MOST_ADDRESSES = 4
_PARTS = 4


def service_of(cluster: str) -> tuple[str, str]:
    """Return host and subset of an outbound cluster; another one is its own name."""
    parts = cluster.split("|")
    return (parts[3], parts[2]) if len(parts) == _PARTS and parts[0] == "outbound" else (cluster, "")


def failure_words(failure: Failure) -> dict[str, Any]:
    """Return what JSON says of a failure."""
    found: dict[str, Any] = {"fate": failure.fate.value, "status": failure.status, "flag": failure.flag}
    found |= {"reason": failure.reason, "code": failure.code}
    if failure.source is not None:
        found["source"] = failure.source.words()
    return found


def outcome_words(outcome: Outcome) -> dict[str, Any]:
    """Return what JSON says of an outcome."""
    found: dict[str, Any] = {
        "fate": outcome.fate.value,
        "status": outcome.status,
        "route": outcome.route,
        "path": outcome.path,
        "location": outcome.location,
        "timeout": outcome.timeout,
        "attempts": outcome.attempts,
        "mirrors": list(outcome.mirrors),
        "destinations": [_destination_words(each) for each in outcome.destinations],
    }
    if outcome.chance:
        found["fault"] = {"percent": float(outcome.chance * 100), "status": outcome.fault_status}
    if outcome.failure is not None:
        found["failure"] = failure_words(outcome.failure)
    if outcome.unknown:
        found["unknown"] = list(outcome.unknown)
    return found


def _destination_words(each: Destination) -> dict[str, Any]:
    host, subset = service_of(each.cluster)
    found: dict[str, Any] = {
        "cluster": each.cluster,
        "service": host,
        "subset": subset,
        "percent": float(each.share * 100),
        "host": each.host,
        "path": each.path,
        "serverName": each.server_name,
        "endpoints": [_place_words(place) for place in each.places],
    }
    if each.failure is not None:
        found["failure"] = failure_words(each.failure)
    return found


def _place_words(place: Place) -> dict[str, Any]:
    return {
        "address": place.address,
        "percent": round(float(place.share * 100), 3),
        "priority": place.priority,
        "locality": place.locality,
        "workload": place.workload.partition(";")[0],
        "tls": place.tls,
        "healthy": place.healthy,
    }


def failure_line(failure: Failure) -> str:
    """Return a failure in one line: status, flag with its words, reason, code."""
    meant = FLAGS.get(failure.flag, "")
    head = " ".join(filter(None, [str(failure.status or ""), failure.flag, f"({meant})" if meant else ""]))
    head = head or "the connection is closed"
    return f"{head}: {failure.reason}" + (f"   {failure.code}" if failure.code else "")


def last_line(outcome: Outcome, servers: Sequence[tuple[Place, Outcome]]) -> str:
    """Return what becomes of the request, with a line for each destination where there are several."""
    if outcome.failure is not None:
        return failure_line(outcome.failure)
    if outcome.fate is Fate.REDIRECT:
        return f"{outcome.status} {outcome.location}"
    if outcome.fate is Fate.ANSWERED:
        return f"{outcome.status} from the proxy itself"
    if outcome.fate is Fate.FAULT:
        return f"{outcome.status} for every request, as a fault that is meant"
    failed = {place.address: end.failure for place, end in servers if end.failure is not None}
    lines = [_destination_line(each, failed, many=len(outcome.destinations) > 1) for each in outcome.destinations]
    if outcome.chance:
        lines.insert(0, f"{shown(outcome.chance)}  {outcome.fault_status}, as a fault that is meant; of the others:")
    return "\n".join(lines)


def _destination_line(each: Destination, failed: dict[str, Failure], *, many: bool) -> str:
    before = f"{shown(each.share)}  " if many else ""
    if each.failure is not None:
        return f"{before}{failure_line(each.failure)}"
    wrong = [failed[place.address] for place in each.used if place.address in failed]
    if wrong:
        return f"{before}{failure_line(wrong[0])}"
    host, subset = service_of(each.cluster)
    named = f"{host} {subset}".strip()
    return f"{before}{_addresses(place.address for place in each.used)}  ({_workloads(each.used) or named})"


def _addresses(every: Iterable[str]) -> str:
    held = list(every)
    more = f" or {len(held) - _MOST_ADDRESSES} more" if len(held) > _MOST_ADDRESSES else ""
    return " or ".join(held[:_MOST_ADDRESSES]) + more


def _workloads(places: Iterable[Place]) -> str:
    names = dict.fromkeys(place.workload.partition(";")[0] for place in places)
    return ", ".join(list(filter(None, names))[:_MOST_ADDRESSES])
