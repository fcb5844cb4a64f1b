"""What metrics and pages tell of a cluster that is read."""

from __future__ import annotations

import time
from dataclasses import replace

from controlplane.admin.feeds_view import feeds_view
from controlplane.admin.json_text import Items
from controlplane.admin.metrics_page import metrics_page
from controlplane.admin.sync_view import SyncView
from controlplane.model.feeds import Feed, Standing
from tests.admin.world import shown, sources, text

PODS = Feed("pods", "", Standing.CURRENT, 3, 7, 2, 900, 1000.5, 0.0, "")
SERVICES = Feed("services", "shop", Standing.LISTING, 0, 0, 0, 0, 0.0, 12.0, "no answer in time")


def page(away_since: float | None = None, *feeds: Feed) -> list[str]:
    asked = replace(sources(), feeds=lambda: feeds, away_since=lambda: away_since)
    return text(metrics_page(asked)).splitlines()


def test_each_feed_has_its_lag() -> None:
    lines = page(None, PODS, SERVICES)
    pods, services = 'resource="pods"', 'resource="services"'
    assert f'controlplane_watch_lag_seconds{{namespace="",{pods}}} 0.0' in lines
    assert f'controlplane_watch_lag_seconds{{namespace="shop",{services}}} 12.0' in lines
    assert f'controlplane_watch_listed{{namespace="shop",{services}}} 0.0' in lines
    assert f'controlplane_watch_last_event_timestamp_seconds{{namespace="",{pods}}} 1000.5' in lines
    for name, value in (("objects", 3.0), ("events_total", 7.0), ("lists_total", 2.0), ("bytes_total", 900.0)):
        assert f'controlplane_watch_{name}{{namespace="",{pods}}} {value}' in lines


def test_how_long_the_api_server_is_away() -> None:
    assert "controlplane_api_server_away_seconds 0.0" in page(None, PODS)
    (line,) = [each for each in page(time.time() - 100, PODS) if each.startswith("controlplane_api_server_away")]
    assert 100 <= float(line.split()[1]) < 130


def test_files_have_no_feeds() -> None:
    assert not [line for line in page() if "controlplane_watch" in line or "away_seconds" in line]


def test_the_page_of_feeds() -> None:
    asked = replace(sources(), feeds=lambda: (SERVICES, PODS), away_since=lambda: 1000.0)
    page = feeds_view(asked)
    assert page["api_server_away_since"] == "1970-01-01T00:16:40Z"
    pods, services = page["feeds"]
    assert (pods["resource"], pods["objects"], pods["last_event"]) == ("pods", 3, "1970-01-01T00:16:40Z")
    assert (services["standing"], services["last_event"]) == ("listing", None)
    assert services["problem"] == "no answer in time"
    assert feeds_view(sources()) == {"feeds": []}


def test_each_proxy_tells_since_when_the_api_server_is_away() -> None:
    gone = replace(sources(), away_since=lambda: 1000.0)
    away, here = (shown(Items(SyncView(each).elements(each.proxies()))) for each in (gone, sources()))
    assert [each["api_server_away_since"] for each in away] == ["1970-01-01T00:16:40Z"] * 2
    assert len(here) == 2
    assert all("api_server_away_since" not in each for each in here)
