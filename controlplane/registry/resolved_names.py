"""Host names that the control plane resolves itself, for what proxies are told by address alone.

What was found stands in the registry as objects of a kind of their own, so that whoever reads it is made again when it
changes. Until then there is no object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.documents.words import is_ip
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Meta, Object, ObjectKey
from controlplane.registry.store import View

RESOLVED_NAME = GroupKind("ResolvedName", "internal")
"""The kind of what was found; no user writes such objects."""


@dataclass(frozen=True, slots=True)
class ResolvedName:
    """The addresses of a host name, sorted."""

    addresses: tuple[str, ...]


def name_key(name: str) -> ObjectKey:
    """Return the key of the object that holds what was found for a name."""
    return ObjectKey(RESOLVED_NAME, "", name)


def found_addresses(name: str, addresses: Iterable[str]) -> Object:
    """Return the object that holds what was found for a name."""
    return Object(RESOLVED_NAME, Meta("", name), ResolvedName(tuple(sorted(set(addresses)))))


def resolved(view: View, name: str) -> tuple[str, ...]:
    """Return the addresses of a host name, none where they are not known; an address is its own."""
    if is_ip(name):
        return (name,)
    obj = view.get(name_key(name))
    return obj.spec.addresses if obj is not None and isinstance(obj.spec, ResolvedName) else ()
