"""Levels of the log by scope, changed while the program runs."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from controlplane.logs import NOISY, SILENT, configure
from controlplane.logs.levels import LIBRARIES, SCOPES, levels
from docs.reference.log_events import events


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = list(root.handlers), root.level
    configure("info", "json", stream)
    yield stream
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    levels.begin(logging.INFO)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in (*NOISY, *SILENT, *LIBRARIES):
        logging.getLogger(name).setLevel(logging.NOTSET)


def told(stream: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


def test_a_scope_is_heard_from_its_level_on(lines: io.StringIO) -> None:
    """A logger that has been used already is heard too, and others are not."""
    log = structlog.get_logger("of a module")
    for level in ("info", "debug", "error", "all"):
        if level != "info":
            levels.set("ads", "debug" if level == "all" else level)
        for event in ("ads.acked", "registry.stored"):
            log.debug(event)
            log.info(event)
            log.error(event)
    levels.set("all", "error")
    log.warning("ads.nack")
    usual, loud, quiet = ["info", "error"], ["debug", "info", "error"], ["error"]
    heard = [*usual, *loud, *quiet, *loud]
    assert [event for event in told(lines) if event.startswith("ads")] == ["ads.acked"] * len(heard)
    assert [event for event in told(lines) if event.startswith("registry")] == ["registry.stored"] * 2 * 4


def test_a_library_is_heard_from_its_level_on(lines: io.StringIO) -> None:
    library = logging.getLogger("kopf.objects")
    library.warning("first")
    levels.set("kopf", "info")
    library.info("second")
    assert told(lines) == ["second"]
    assert levels.all()["kopf"] == "info"


@pytest.mark.parametrize(("scope", "level"), [("nothing", "debug"), ("ads", "loud")])
def test_what_is_none_is_refused(scope: str, level: str) -> None:
    with pytest.raises(ValueError, match=f"'{scope if scope == 'nothing' else level}' is no"):
        levels.set(scope, level)


def test_scopes_are_those_of_the_events_that_there_are() -> None:
    assert {name.partition(".")[0] for name in events()} == set(SCOPES)
