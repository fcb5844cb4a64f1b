"""What does not get into the log, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from controlplane import logs
from controlplane.logs.cleaning import LONGEST_TRACEBACK, LONGEST_VALUE, redacted
from controlplane.printable import printable

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
ESC = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in (*logs.NOISY, *logs.SILENT):
        logging.getLogger(name).setLevel(logging.NOTSET)


def written(style: str, level: str = "debug") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, style, stream)
    return stream


def fail(text: str) -> None:
    raise RuntimeError(text)


def everywhere(text: str) -> None:
    """Log a text in every place that an event has."""
    log = structlog.get_logger()
    log.warning("x.said", peer="10.0.0.1:5", reason=text, found=[text, {"deep": (text,)}], error=ValueError(text))
    log.warning(text)
    try:
        fail(text)
    except RuntimeError:
        log.exception("x.failed")
        logging.getLogger("library").exception("failed with %s", text)
    logging.getLogger("library").warning("%s", text)


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (JWT, "c2lnbmF0dXJl"),
        (f"Bearer {JWT}", "c2lnbmF0dXJl"),
        ("(b'authorization', b'Bearer canary-0123456789abcdef')", "canary"),
        ("authorization: Basic Y2FuYXJ5OmNhbmFyeQ==", "Y2FuYXJ5"),
        ("-----BEGIN EC PRIVATE KEY-----\nY2FuYXJ5\n-----END EC PRIVATE KEY-----", "Y2FuYXJ5"),
    ],
)
def test_no_credential(style: str, text: str, secret: str) -> None:
    stream = written(style)
    everywhere(f"he said {text} and left")
    assert secret not in stream.getvalue()
    assert "he said" in stream.getvalue()
    assert "and left" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    ["the caller shows neither a client certificate nor a bearer token", "Bearer authentication", "eyJ", "basic"],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_control_character(style: str) -> None:
    stream = written(style)
    everywhere(f"a{ESC}b\r\nc\u202ed\u2028e\x9bf")
    said = stream.getvalue()
    assert "\x1b" not in said
    assert "\x07" not in said
    assert not {"\u202e", "\u2028", "\x9b", "\r"} & set(said)
    assert "\\x1b[2J" in said or "\\u001b[2J" in said


def test_a_line_stays_a_line() -> None:
    stream = written("console")
    structlog.get_logger().warning("x.said", reason="one\n2026-01-01 [error] forged.event")
    assert len(stream.getvalue().splitlines()) == 1


def test_libraries_that_tell_of_headers_are_not_heard() -> None:
    stream = written("json", "debug")
    for name in ("hpack.hpack", "hpack.table", "kubernetes.aio.client.rest"):
        logging.getLogger(name).debug("Decoded %s", ("authorization", "Bearer x"))
        logging.getLogger(name).warning("odd")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["odd"] * 3


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("style", ["json", "console"])
def test_nothing_that_is_logged_raises_or_is_endless(style: str) -> None:
    stream = written(style)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    itself: list[Any] = []
    itself.append(itself)
    log = structlog.get_logger()
    log.warning("x.odd", a=Unprintable(), b=deep, c=itself, d={1: 2, None: b"x"}, e="\udce4", f=object())
    log.warning("x.long", a="y" * 10_000_000, b=["z" * 100] * 100_000)
    try:
        fail("v" * 10_000_000)
    except RuntimeError:
        log.exception("x.failed")
    assert len(stream.getvalue()) < 2 * LONGEST_TRACEBACK + 300 * 200 + 4 * LONGEST_VALUE
    assert "10000000 characters in all" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünï¢ode 漢字", "plain text, ünï¢ode 漢字"),
        ("a\tb\nc", "a\\tb\\nc"),
        ("\x00\x7f\x9b\u202e\ud800", "\\x00\\x7f\\x9b\\u202e\\ud800"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    assert printable("a\nb", keep="\n") == "a\nb"
