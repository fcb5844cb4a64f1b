"""Kinds by their bare names, as the YAML of a test has them."""

from __future__ import annotations

from controlplane.model import kinds
from controlplane.model.kinds import GroupKind

_KINDS = {each.name: each for each in vars(kinds).values() if isinstance(each, GroupKind)}


def kind_of(name: str) -> GroupKind:
    """Return the kind that the registry reads under this name; of two groups Istio's."""
    return _KINDS[name]
