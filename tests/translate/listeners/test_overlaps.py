"""VirtualServices are found by their hosts as if each were looked at."""

from __future__ import annotations

import random

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.registry.scopes import covers
from controlplane.registry.virtual_services import ResolvedVirtualService
from controlplane.translate.listeners.overlaps import Overlaps

NAMES = (
    "*",
    "*.com",
    "*.b.com",
    "*.a.b.com",
    "*b.com",
    "b.com",
    "a.b.com",
    "x.a.b.com",
    "ab.com",
    "com",
    "*.org",
    "a.org",
)


@pytest.mark.parametrize("seed", range(20))
def test_those_are_found_whose_hosts_overlap(seed: int) -> None:
    chosen = random.Random(seed)
    held = [resolved(number, *chosen.sample(NAMES, chosen.randrange(1, 4))) for number in range(seed % 8)]
    overlaps = Overlaps(held)
    for name in (*NAMES, ""):
        plainly = [each for each in held if any(covers(host, name) or covers(name, host) for host in each.hosts)]
        assert overlaps.of(name) == plainly, name


def resolved(number: int, *hosts: str) -> ResolvedVirtualService:
    key = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", f"v{number}")
    return ResolvedVirtualService(key, ("", "shop", key.name), hosts, ("mesh",), frozenset("*"))
