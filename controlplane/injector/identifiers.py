"""The user and group of the proxy where the platform gives each namespace its own (OpenShift)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_USERS = "openshift.io/sa.scc.uid-range"
_GROUPS = "openshift.io/sa.scc.supplemental-groups"


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The user and group that the proxy runs as; ``None`` is 1337."""

    user: int | None = None
    group: int | None = None


def identifiers(annotations: Mapping[str, str]) -> Identifiers:
    """Return the last user and group that a namespace with these annotations allows; ranges that are none are ignored.

    A range is ``start/size`` or ``start-end``; of several the first counts.
    """
    user = _last(annotations.get(_USERS, ""))
    group = _last(annotations.get(_GROUPS, ""))
    return Identifiers(user, user if group is None else group)


def _last(text: str) -> int | None:
    first = text.split(",", maxsplit=1)[0].strip()
    for sign in ("/", "-"):
        start, found, end = first.partition(sign)
        if found and (start + end).isascii() and start.isdigit() and end.isdigit() and len(first) <= 40:  # noqa: PLR2004 - two numbers
            return int(start) + int(end) - 1 if sign == "/" else int(end)
    return None
