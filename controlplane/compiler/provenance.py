"""Which rule of which object made a route: told from what is remembered of how it was made."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.model.objects import ObjectKey
from controlplane.registry.store import Registry, View
from controlplane.registry.virtual_services import stated_by
from controlplane.translate.routes.http_routes import http_routes


class Rule(NamedTuple):
    """One HTTP route of a VirtualService: the object that states it, its place there, and that of its match.

    ``match`` is -1 where the rule has none.
    """

    key: ObjectKey
    place: int
    match: int

    @property
    def path(self) -> str:
        """The field of the object."""
        return f"spec.http[{self.place}]"


def rules_in_use(registry: Registry, key: ObjectKey) -> frozenset[int]:
    """Return the places of a VirtualService's HTTP rules that some route configuration has a route of.

    A delegate is asked about by its own key.
    """
    memo, found = registry.memo, set()
    for asked in memo.keys(http_routes):
        if memo.is_stale(http_routes, asked):
            continue
        stated = stated_by(View(registry), asked.virtual_service)
        for route in memo.outcome(http_routes, asked).value or ():
            if 0 <= route.rule < len(stated) and stated[route.rule][0] == key:
                found.add(stated[route.rule][1])
    return frozenset(found)


def rule_of_route(registry: Registry, virtual_service: ObjectKey, body: bytes) -> Rule | None:
    """Return the rule that made a route of a VirtualService, ``None`` where none made just these bytes.

    So it is where an EnvoyFilter has changed the route since.
    """
    memo = registry.memo
    for key in memo.keys(http_routes):
        if key.virtual_service != virtual_service or memo.is_stale(http_routes, key):
            continue
        for route in memo.outcome(http_routes, key).value or ():
            if route.body == body and route.rule >= 0:
                stated = stated_by(View(registry), virtual_service)
                if route.rule < len(stated):
                    key_of, place = stated[route.rule]
                    return Rule(key_of, place, route.match)
    return None
