"""The table of route configurations: one row for each route."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controlplane.cli.proxy_config.dump import Json
from controlplane.cli.proxy_config.origin import origin

HEADER = ("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE")
SHORT_HEADER = ("NAME", "VIRTUAL HOSTS")

_PASSTHROUGH = "PassthroughCluster"
_SHOWN_DOMAINS = 2


def selected_routes(routes: Iterable[Json], name: str = "") -> list[Json]:
    """Return the route configurations of this name, or all: ports in ascending order, then the other names."""
    return sorted((each for each in routes if name in {"", each.get("name", "")}), key=_order)


def _order(route_configuration: Json) -> tuple[bool, int, str]:
    name = route_configuration.get("name", "")
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def route_rows(route_configuration: Json) -> list[list[str]]:
    """Return the cells of every route; routes that only pass through are not shown."""
    rows = []
    for host in route_configuration.get("virtual_hosts", ()):
        start = [route_configuration.get("name", ""), host.get("name", ""), domains_text(host.get("domains", ()))]
        routes = host.get("routes", ())
        if not routes:
            rows.append([*start, "/*", "404"])
        shown = (route for route in routes if route.get("route", {}).get("cluster") != _PASSTHROUGH)
        rows.extend([*start, match_text(route), origin(route)] for route in shown)
    return rows


def short_row(route_configuration: Json) -> list[str]:
    """Return the cells of the table with counts."""
    return [route_configuration.get("name", ""), str(len(route_configuration.get("virtual_hosts", ())))]


def domains_text(domains: Sequence[str]) -> str:
    """Describe the domains of a virtual host: without those with a port, and the longer spellings of a short name."""
    if len(domains) == 1:
        return domains[0]
    without_port = [each for each in domains if ":" not in each or (each.startswith("[") and each.endswith("]"))]
    known = set(without_port)
    kept = [each for each in without_port if not any(each == f"{short}{end}" for short in known for end in _LONGER)]
    if len(kept) <= _SHOWN_DOMAINS:
        return ", ".join(kept)
    return f"{', '.join(kept[:_SHOWN_DOMAINS])} + {len(kept) - _SHOWN_DOMAINS} more..."


_LONGER = (".svc", ".svc.cluster.local")


def match_text(route: Json) -> str:
    """Describe the path that a route takes."""
    match = route.get("match", {})
    parts = []
    if "prefix" in match:
        parts.append(f"{match['prefix']}*")
    if "path_separated_prefix" in match:
        parts.append(f"PathPrefix:{match['path_separated_prefix']}")
    if "path" in match:
        parts.append(match["path"])
    if "safe_regex" in match:
        parts.append(f"regex {match['safe_regex'].get('regex', '')}")
    return " ".join(parts)
