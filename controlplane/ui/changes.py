"""The screen of what happened lately: all of it, or what lies between two revisions, with the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from pydantic import ConfigDict, Field

from controlplane.api import queries
from controlplane.api.models import Event
from controlplane.api.operations import VIEWS
from controlplane.model.events import Happened
from controlplane.ui.showing import WrongError, asked_of, shown


class ChangesQuery(queries.Query):
    """Between which revisions; without them, everything that is remembered."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=False, validate_by_alias=True)

    from_: int = Field(-1, alias="from", ge=0, le=2**53)
    to: int = Field(-1, ge=0, le=2**53)


@dataclass(frozen=True, slots=True)
class Sum:
    """What became of several events: the names that they have, and the numbers."""

    changed: Sequence[str]
    removed: Sequence[str]
    refused: Sequence[str]
    pushes: int
    targets: int
    proxies: int
    nacks: int

    @classmethod
    def of(cls, events: Sequence[Event]) -> Sum:
        """Add up; each name is there once."""
        pushed = [each for each in events if each.happened is Happened.PUSHED]
        read = [each for each in events if each.happened in {Happened.ACCEPTED, Happened.REFUSED}]
        return cls(
            tuple(dict.fromkeys(name for each in read for name in each.changed)),
            tuple(dict.fromkeys(name for each in read for name in each.removed)),
            tuple(dict.fromkeys(name for each in read for name in each.refused)),
            len(pushed),
            sum(each.targets for each in pushed),
            max((each.proxies for each in pushed), default=0),
            sum(each.objects for each in events if each.happened is Happened.NACKED),
        )


def between(events: Sequence[Event], one: int, other: int) -> Sequence[Event]:
    """Return the events, the oldest first, that led from one revision to the other."""
    pushed = [(place, each.revision) for place, each in enumerate(events) if each.happened is Happened.PUSHED]
    begin = max((place + 1 for place, revision in pushed if revision <= one), default=0)
    end = max((place + 1 for place, revision in pushed if revision <= other), default=0)
    return events[begin:end]


async def changes(request: web.Request) -> web.StreamResponse:
    """Show the events, the last first."""
    asked = asked_of(request, ChangesQuery)
    events: Sequence[Event] = await request.app[VIEWS].events(queries.EventsQuery())
    known = [each.revision for each in events if each.happened is Happened.PUSHED]
    total = None
    if asked.from_ >= 0 or asked.to >= 0:
        to = asked.to if asked.to >= 0 else max(known, default=0)
        one = max(asked.from_, 0)
        if to < one:
            raise WrongError(400, f"Revision {to} comes before {one}: give the earlier one first.")
        events = between(events, one, to)
        total = Sum.of(events)
    return await shown(
        request, "changes", asked=asked, events=events[::-1], summed=total, known=known, json="/api/v1/events"
    )
