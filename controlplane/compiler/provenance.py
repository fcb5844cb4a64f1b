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
