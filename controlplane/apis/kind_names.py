"""Istio's kinds by all names that kubectl takes for them, and what to say of a name that is none of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from controlplane.apis.crds.definitions import PRESENTATIONS
from controlplane.apis.kinds import KINDS
from controlplane.documents.nearest import nearest

_LONGEST = 63


@cache
def kind_names() -> Mapping[str, str]:
    """Return the kinds by their names in lower case: ``virtualservice``, ``virtualservices``, ``vs``."""
    found: dict[str, str] = {}
    for kind in KINDS.values():
        found |= {kind.name.lower(): kind.name, kind.plural: kind.name}
        if short := PRESENTATIONS[kind.name].short_name:
            found[short] = kind.name
    return found


def no_such_kind(group: str, name: str) -> str:
    """Return a sentence about a kind that a group of Istio's has not: the nearest one, else all there are."""
    known = sorted(kind.name for kind in KINDS.values() if kind.group == group)
    near = nearest(name[:_LONGEST], known)
    return f"{group} has no {name[:_LONGEST]}, " + (f"is {near[0]} meant?" if near else f"but {', '.join(known)}")
