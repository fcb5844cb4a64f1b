"""Which resources a refusal is about: Envoy says it only in the text of the message.

Listeners and clusters are refused one by one, and the message names each with its reason:
``Error adding/updating listener(s) NAME: reason`` and ``Error adding/updating cluster(s) NAME: reason, NAME: reason``.
Other types are refused as a whole; their messages name the resource seldom, and in no fixed place.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_NAMED = re.compile(r"Error adding/updating (?:listener|cluster)\(s\) (?P<rest>.*)", re.DOTALL)
_FIRST = re.compile(r"(?P<name>\S+): ")
_ROUTE = re.compile(r"\b(?:in route|route config(?:uration)?|RDS|rds)[: ]+'?(?P<name>[^\s',;]+)")


def rejected_names(message: str, known: Collection[str], subscribed: Collection[str] | None) -> tuple[str, ...]:
    """Return the names of the refused resources, in the message's order; empty where it does not tell.

    Args:
        message: ``error_detail.message`` of the refusal.
        known: names of the type's resources that the proxy should hold; a name among them is preferred to a guess.
        subscribed: names the proxy asked for, ``None`` for all. If there is only one, it is the refused one.
    """
    named = _NAMED.search(message)
    if named is not None:
        rest = named["rest"]
        found = sorted((rest.index(f"{name}: "), name) for name in known if _starts_an_entry(name, rest))
        if found:
            return tuple(name for _, name in found)
        first = _FIRST.match(rest)
        return (first["name"],) if first is not None else ()
    route = _ROUTE.search(message)
    if route is not None and (route["name"] in known or not known):
        return (route["name"],)
    quoted = sorted((message.index(name), name) for name in known if _stands_alone(name, message))
    if quoted:
        return tuple(name for _, name in quoted)
    if subscribed is not None and len(subscribed) == 1:
        return tuple(subscribed)
    return ()


def _starts_an_entry(name: str, text: str) -> bool:
    """Whether ``name: `` begins the text, a line of it, or an element of its list."""
    return re.search(rf"(?:^|\n|, ){re.escape(name)}: ", text) is not None


def _stands_alone(name: str, text: str) -> bool:
    """Whether a name occurs as a whole; bare numbers (route names are ports) may mean anything and do not count."""
    return not name.isdecimal() and re.search(rf"(?<![\w.|-]){re.escape(name)}(?![\w|-])", text) is not None
