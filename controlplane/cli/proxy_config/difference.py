"""What a proxy holds beside what it should hold, as a unified diff of JSON.

Versions and times are no part of a resource. Of load assignments, Envoy shows what it made of them (health, weights
written out), so both sides are reduced to what was meant.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

from controlplane.cli.proxy_config.dump import Dump, Json

CONTEXT_LINES = 7

KINDS: Mapping[str, Callable[[Dump], list[Json]]] = {
    "Clusters": lambda dump: dump.clusters(dynamic=True),
    "Listeners": lambda dump: dump.listeners(dynamic=True),
    "Routes": lambda dump: dump.routes(dynamic=True),
    "Endpoints": lambda dump: [_assignment(each) for each in _over_eds(dump)],
}
"""The kinds that can be compared, and where a dump has them."""


def difference(kind: str, control_plane: Dump, envoy: Dump) -> list[str]:
    """Return the lines of a diff of one kind, empty where both are the same."""
    wanted, held = (_lines(KINDS[kind](dump)) for dump in (control_plane, envoy))
    names = f"Control plane {kind}", f"Envoy {kind}"
    return list(difflib.unified_diff(wanted, held, *names, n=CONTEXT_LINES, lineterm=""))


def _lines(resources: list[Json]) -> list[str]:
    ordered = sorted((_plain(_numbers(each)) for each in resources), key=_name)
    return json.dumps(ordered, indent=4, sort_keys=True).splitlines() if ordered else []


def _numbers(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value with whole numbers as such: where one side writes 100.0, the other writes 100."""
    match value:
        case dict():
            return {name: _numbers(each) for name, each in value.items()}
        case list():
            return [_numbers(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _name(resource: Json) -> str:
    return str(resource.get("name") or resource.get("cluster_name", ""))


def _plain(resource: Json) -> dict[str, Any]:
    """Return the resource with its virtual hosts in order, however they came, and without what is known anyway."""
    plain = {name: value for name, value in resource.items() if name not in _BESIDE}
    if "virtual_hosts" in plain:
        plain["virtual_hosts"] = sorted(plain["virtual_hosts"], key=lambda host: str(host.get("name", "")))
    return plain


_BESIDE = frozenset({"@type", "vhds"})
"""What says of which kind a resource is, and that virtual hosts came one by one."""


def _over_eds(dump: Dump) -> list[Json]:
    """Return the load assignments that came over EDS; Envoy shows those of all its clusters."""
    clusters = [each for each in dump.clusters(dynamic=True) if each.get("type") == "EDS"]
    names = {each.get("eds_cluster_config", {}).get("service_name") or each.get("name") for each in clusters}
    return [each for each in dump.load_assignments(dynamic=True) if each.get("cluster_name") in names]


def _assignment(assignment: Json) -> Json:
    groups = []
    for locality in assignment.get("endpoints", ()):
        members = sorted((_member(each) for each in locality.get("lb_endpoints", ())), key=json.dumps)
        where = {name: value for name, value in locality.get("locality", {}).items() if value}
        groups.append(
            {
                "locality": where,
                "priority": locality.get("priority", 0),
                "load_balancing_weight": locality.get("load_balancing_weight", 0),
                "lb_endpoints": members,
            }
        )
    groups.sort(key=lambda group: (group["priority"], json.dumps(group["locality"], sort_keys=True)))
    return {"cluster_name": assignment.get("cluster_name", ""), "endpoints": groups}


def _member(member: Json) -> Json:
    return {
        "address": member.get("endpoint", {}).get("address", {}),
        "health_status": member.get("health_status", "UNKNOWN").replace("UNKNOWN", "HEALTHY"),
        "load_balancing_weight": member.get("load_balancing_weight", 1),
        "metadata": member.get("metadata", {}),
    }
