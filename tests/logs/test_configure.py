"""Log lines, of our own and of libraries."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from controlplane import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in (*logs.NOISY, *logs.SILENT):
        logging.getLogger(name).setLevel(logging.NOTSET)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_an_event_is_one_json_object() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger().info("registry.rejected", object="VirtualService shop/reviews", problems=("a", "b"))
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "registry.rejected",
        "level": "info",
        "object": "VirtualService shop/reviews",
        "problems": ["a", "b"],
    }


def test_libraries_log_the_same_way() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("grpc.aio").warning("lost %s", "peer")
    event = json.loads(stream.getvalue())
    assert (event["event"], event["level"], event["logger"]) == ("lost peer", "warning", "grpc.aio")


def test_warnings_are_logged() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
    assert json.loads(stream.getvalue())["logger"] == "py.warnings"


def test_exceptions_are_part_of_the_object() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    nothing: dict[str, str] = {}
    try:
        nothing["gone"]
    except KeyError:
        structlog.get_logger().exception("admin.failed")
        logging.getLogger("x").exception("failed too")
    ours, theirs = (json.loads(line) for line in stream.getvalue().splitlines())
    assert "KeyError: 'gone'" in ours["exception"]
    assert "KeyError: 'gone'" in theirs["exception"]


def test_level() -> None:
    stream = io.StringIO()
    logs.configure("warning", stream=stream)
    structlog.get_logger().info("quiet.event")
    logging.getLogger("x").info("quiet")
    structlog.get_logger().warning("loud.event")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud.event"]


def test_what_is_noisy_is_heard_at_debug_only() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    logging.getLogger("asyncio").info("using a selector")
    assert stream.getvalue() == ""
    logs.configure("debug", stream=stream)
    logging.getLogger("asyncio").info("using a selector")
    assert "using a selector" in stream.getvalue()


@pytest.mark.parametrize(
    ("style", "terminal", "console"),
    [("auto", True, True), ("auto", False, False), ("json", True, False), ("console", False, True)],
)
def test_format(style: str, *, terminal: bool, console: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    logs.configure(style=style, stream=stream)
    structlog.get_logger().info("app.serving", port=15010)
    assert stream.getvalue().startswith("{") is not console
    assert ("\x1b" in stream.getvalue()) is (console and terminal)


@pytest.mark.parametrize(("level", "style"), [("loud", "json"), ("info", "xml")])
def test_no_such_level_or_format(level: str, style: str) -> None:
    with pytest.raises(ValueError, match="is not a log"):
        logs.configure(level, style, io.StringIO())
