"""``/debug/feedz``: how what was read of a cluster stands, our own page.

``api_server_away_since`` is there while the API server does not answer. ``feeds`` has one element for each kind that is
read, none where files are read: the values of ``Feed``, with times in RFC 3339.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from controlplane.admin.sources import AdminSources
from controlplane.model.feeds import Feed


def feeds_view(sources: AdminSources) -> dict[str, Any]:
    """Return the page, feeds sorted by resource and namespace."""
    feeds = sorted(sources.feeds(), key=lambda feed: (feed.resource, feed.namespace))
    return {**away(sources), "feeds": [_feed(feed) for feed in feeds]}


def away(sources: AdminSources) -> dict[str, str]:
    """Return since when the API server is away, as one key; nothing while it answers."""
    since = sources.away_since()
    return {} if since is None else {"api_server_away_since": _time(since)}


def _feed(feed: Feed) -> dict[str, Any]:
    return {
        "resource": feed.resource,
        "namespace": feed.namespace,
        "standing": feed.standing.value,
        "objects": feed.objects,
        "events": feed.events,
        "lists": feed.lists,
        "size_bytes": feed.size_bytes,
        "last_event": _time(feed.last_event) if feed.last_event else None,
        "lag_seconds": round(feed.lag_seconds, 3),
        "problem": feed.problem,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
