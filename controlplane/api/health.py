"""How the control plane itself is doing, as the API has it."""

from __future__ import annotations

from datetime import UTC, datetime

from controlplane.admin.sources import AdminSources
from controlplane.admin.tasks_view import tasks_view
from controlplane.api import models
from controlplane.model.feeds import Feed


def health(sources: AdminSources) -> models.Health:
    """Return it; there are some ten tasks, and a watch for each kind that is read."""
    away = sources.away_since()
    return models.Health(
        **tasks_view(sources),
        leads=[models.Lead(work=each.work, here=each.here, holder=each.holder) for each in sources.leads()],
        watches=[_watch(each) for each in sorted(sources.feeds(), key=lambda feed: (feed.resource, feed.namespace))],
        away_since=None if away is None else datetime.fromtimestamp(away, UTC),
    )


def _watch(feed: Feed) -> models.Watch:
    return models.Watch(
        resource=feed.resource,
        namespace=feed.namespace,
        standing=feed.standing,
        objects=feed.objects,
        events=feed.events,
        last_event=datetime.fromtimestamp(feed.last_event, UTC) if feed.last_event else None,
        lag_seconds=round(feed.lag_seconds, 3),
        problem=feed.problem,
    )
