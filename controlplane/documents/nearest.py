"""What somebody may have meant who misspelt a name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 253
"""No name is longer; comparing takes time that grows with both."""
_MOST = 2_000


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three names that are close to one, the closest first; capital letters make no difference."""
    held = {each.lower(): each for each, _ in zip(dict.fromkeys(known), range(_MOST), strict=False)}
    return [held[each] for each in get_close_matches(name[:_LONGEST].lower(), held, n=3)]


def nearest_text(name: str, known: Iterable[str]) -> str:
    """Return those names for the end of a sentence, nothing where none is close."""
    near = nearest(name, known)
    return f"; nearest: {', '.join(near)}" if near else ""
