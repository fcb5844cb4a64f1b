"""Quantities of Kubernetes, such as ``100m`` and ``1Gi``. Reference: apimachinery, ``resource.Quantity``."""

from __future__ import annotations

import re2

_QUANTITY = re2.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,9}|)")
_BELOW_NOTHING = re2.compile(r"-[0.]*[1-9]")
_LONGEST = 100


def is_quantity(text: str) -> bool:
    """Whether the API server would take a text as a quantity."""
    return len(text) <= _LONGEST and _QUANTITY.fullmatch(text) is not None


def is_negative(quantity: str) -> bool:
    """Whether a quantity is less than nothing; ``-0`` is not, and ``-1n`` is."""
    return _BELOW_NOTHING.match(quantity) is not None
