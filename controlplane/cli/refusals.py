"""What ``status`` says of refusals beside the table, whose cells have room for the word alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]

_LONGEST_REASON = 300
_MOST_NAMED = 3


def refusals(rows: Iterable[tuple[str, str, Json]]) -> str:
    """Return a paragraph that has each reason once, with who refused for it and the objects behind; empty without any.

    ``rows`` are the proxy, the type and the type's entry of each refusal.
    """
    by_reason: dict[tuple[str, str], list[str]] = {}
    objects: dict[tuple[str, str], list[str]] = {}
    for proxy, type_name, entry in rows:
        key = (type_name, _reason(entry))
        by_reason.setdefault(key, []).append(proxy)
        objects.setdefault(key, _objects(entry))
    if not by_reason:
        return ""
    lines = ["Refused:"]
    for (type_name, reason), proxies in sorted(by_reason.items()):
        lines.append(f"  {type_name} by {_some(proxies)}: {reason}")
        if held := objects[type_name, reason]:
            lines.append(f"    made from {_some(held)}")
    return "\n".join(lines)


def object_name(key: Json) -> str:
    """Return an object as people call it: ``Gateway infra/edge``."""
    namespace = f"{key['namespace']}/" if key.get("namespace") else ""
    return f"{key['kind']} {namespace}{key['name']}"


def _reason(entry: Json) -> str:
    text = " ".join(str(entry["lastError"]).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


def _objects(entry: Json) -> list[str]:
    resources = (entry.get("rejection") or {}).get("resources", ())
    return list(dict.fromkeys(object_name(key) for each in resources for key in each.get("objects", ())))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
