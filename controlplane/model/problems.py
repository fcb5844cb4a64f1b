"""What is wrong with an object, one by one: for those who show it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controlplane.model.objects import ObjectKey


class Sort(StrEnum):
    """What a problem means for its object.

    ``REFUSED``: this version of it is not used. ``LEFT_OUT``: proxies do not get a part of what it asks for, which
    Envoy would refuse. ``FINDING``: what it says is without effect, or leads nowhere. ``WARNING``: it is odd.
    """

    REFUSED = "refused"
    LEFT_OUT = "left out"
    FINDING = "finding"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of one object.

    ``path`` is the field's, empty where it is not known; ``level`` is ``Error``, ``Warning`` or ``Info``. ``code`` is
    one of ``analysis.codes``, empty where there is none. ``winner`` is the object that is used in this one's place.
    ``source`` says where the object was read (``path:line``). ``key`` has empty parts where even they could not be
    read.
    """

    key: ObjectKey
    sort: Sort
    level: str
    reason: str
    path: str = ""
    code: str = ""
    winner: ObjectKey | None = None
    source: str = ""
