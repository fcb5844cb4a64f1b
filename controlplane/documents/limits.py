"""What a text becomes, and how much of it is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 100
"""Nesting beyond which a value is refused; no object of Kubernetes comes near."""
MAX_COPIED = 100_000
"""How many values the aliases of one document may add to it; a long text counts once for each 40 characters."""
MAX_CHARACTERS = 64_000_000
"""The longest text that is read at all, unless a caller says less: a page of a large list has some 20 million."""
MAX_SETTING = 1_000_000
"""The longest text of one setting (annotation, mesh configuration): Kubernetes stores no larger ConfigMap."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value, the line (from 1) where it begins, and which keys it gives twice."""

    value: Any
    line: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Text that is no document: the line (from 1) of the mistake, and what it is."""

    line: int
    reason: str


class UnreadableError(ValueError):
    """A text that is no document; says the line where one knows it, and what is wrong."""


def too_long(limit: int) -> str:
    """Return the reason for refusing a text."""
    return f"is longer than {limit} characters"


def too_deep() -> str:
    """Return the reason for refusing a value."""
    return f"nested deeper than {MAX_DEPTH} levels"
