"""What ``status`` says of resources that the control plane could not build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]

_EVERYTHING = "*"


def unbuilt_anywhere(proxies: Iterable[Json]) -> str:
    """Return a paragraph on what could not be built for any of the proxies; empty where all could."""
    waiting: dict[tuple[str, str], int] = {}
    for proxy in proxies:
        for url, entry in proxy.get("resources", {}).items():
            for each in entry.get("unbuilt", ()):
                key = (_name(each, url), each["reason"])
                waiting[key] = waiting.get(key, 0) + 1
    if not waiting:
        return ""
    lines = ["Could not be built, so proxies keep what they have of it:"]
    for (name, reason), count in sorted(waiting.items()):
        lines.append(f"  {name} (of {count} {'proxy' if count == 1 else 'proxies'}): {reason}")
    return "\n".join(lines)


def unbuilt_of(type_name: str, entry: Json) -> str:
    """Return a paragraph on what of one type could not be built for a proxy; empty where all could."""
    if not entry.get("unbuilt"):
        return ""
    lines = [f"{type_name} could not be built, so the proxy keeps what it has of it:"]
    lines += [f"  {_name(each, '')}: {each['reason']}" for each in entry["unbuilt"]]
    return "\n".join(lines)


def _name(unbuilt: Json, url: str) -> str:
    kind = url.rpartition(".")[2]
    if unbuilt["name"] == _EVERYTHING:
        return f"every {kind or 'resource'}"
    return f"{kind} {unbuilt['name']}".strip()
