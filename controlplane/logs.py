"""Sets up logging, once, when the program starts.

Every event is one line on standard error: text on a terminal, a JSON object otherwise. Events have constant
names (``package.past_or_noun``) and carry their values as keys. What other libraries log through ``logging``
(grpc, aiohttp, kubernetes) goes the same way, with the library's logger as ``logger``.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

NOISY = ("asyncio", "aiohttp.access", "grpc._cython.cygrpc")
"""Loggers that are heard below a warning only at level ``debug``."""


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
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers = _renderers(console=style == "console" or (style == "auto" and terminal), colors=terminal)
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(threshold, stream, shared, renderers)


def _renderers(*, console: bool, colors: bool) -> list[Processor]:
    if console:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _route_standard_library(
    threshold: int, stream: TextIO, shared: list[Processor], renderers: list[Processor]
) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    logging.captureWarnings(capture=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.NOTSET if threshold <= logging.DEBUG else logging.WARNING)
