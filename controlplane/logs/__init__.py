"""Sets up logging, once, when the program starts.

Every event is one line on standard error: text on a terminal, a JSON object otherwise. Events have constant
names (``package.past_or_noun``) and carry their values as keys. What other libraries log through ``logging``
(grpc, aiohttp, kubernetes) goes the same way, with the library's logger as ``logger``.

A line is never worth a failure or a wait (``sink``), one peer cannot fill the log (``limits``), and no credential,
control character or endless text gets into it (``cleaning``), at whatever level.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import Processor

from controlplane.logs.cleaning import clean_values, escape_values, plain_traceback
from controlplane.logs.levels import LIBRARIES, levels
from controlplane.logs.limits import PeerLimit
from controlplane.logs.sink import Sink

NOISY = {
    "asyncio": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "grpc._cython.cygrpc": logging.WARNING,
    "kopf": logging.CRITICAL,  # what fails there reaches us as an exception
}
"""Loggers that are heard below these levels only at level ``debug``."""
SILENT = ("hpack", "kubernetes.aio.client.rest", "kubernetes.client.rest")
"""Loggers that tell of credentials or whole answers below a warning: they are never heard there."""


def configure(level: str = "info", style: str = "auto", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's events to ``stream``, standard error by default.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``: the least severe event that is written.
        style: ``console``, ``json``, or ``auto``: console if the stream is a terminal.
        stream: where the lines go.

    Raises:
        ValueError: no such level or style.
    """
    stream = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"{level!r} is not a log level; there are debug, info, warning and error")
    if style not in {"auto", "console", "json"}:
        raise ValueError(f"{style!r} is not a log format; there are auto, console and json")
    terminal = stream.isatty()
    sink = cast("TextIO", Sink(stream))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        PeerLimit(),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers = _renderers(console=style == "console" or (style == "auto" and terminal), colors=terminal)
    levels.begin(threshold)
    structlog.configure(
        processors=[levels, *shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),  # ``levels`` may change, this cannot
        logger_factory=structlog.WriteLoggerFactory(sink),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(threshold, sink, shared, renderers)


def _renderers(*, console: bool, colors: bool) -> list[Processor]:
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)
        return [clean_values, escape_values, renderer]
    return [structlog.processors.format_exc_info, clean_values, structlog.processors.JSONRenderer(default=str)]


class _Handler(logging.StreamHandler[TextIO]):
    """Writes what libraries log; an event that is dropped, or cannot be written, is nothing to tell of."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        """Do nothing."""


def _route_standard_library(
    threshold: int, stream: TextIO, shared: list[Processor], renderers: list[Processor]
) -> None:
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    logging.captureWarnings(capture=True)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.NOTSET)  # another program in this process may have asked for them
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name, level in NOISY.items():
        logging.getLogger(name).setLevel(logging.NOTSET if threshold <= logging.DEBUG else level)
