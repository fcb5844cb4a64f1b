"""The least severe events that are written, by scope, changed while the program runs.

A scope is the first part of the names of events (``ads`` of ``ads.nack``), or a library that logs through ``logging``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import structlog
from structlog.typing import EventDict, WrappedLogger

SCOPES = (
    "admin",
    "ads",
    "agent",
    "app",
    "auto_registration",
    "certificates",
    "cni",
    "compiler",
    "controllers",
    "events",
    "http2",
    "injection",
    "leader",
    "networks",
    "questions",
    "registry",
    "root_certificates",
    "secrets",
    "security",
    "status",
    "watchers",
    "webhooks",
)
"""The first parts of the names of our events."""
LIBRARIES = ("aiohttp", "asyncio", "grpc", "kopf")
"""Libraries whose events may be asked for."""
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_NAMES = {number: name for name, number in LEVELS.items()}
_METHODS = LEVELS | {"exception": logging.ERROR, "critical": logging.CRITICAL, "warn": logging.WARNING}
ALL = "all"
"""What stands for every scope in place of its name."""


class Levels:
    """One level for each scope; in structlog's chain it drops the events that are below that of their scope."""

    def __init__(self) -> None:
        self._usual = logging.INFO
        self._levels = dict.fromkeys(SCOPES, logging.INFO)

    def begin(self, threshold: int) -> None:
        """Set the level of all scopes of ours, when the program starts; those of libraries are the caller's."""
        self._usual = threshold
        self._levels = dict.fromkeys(SCOPES, threshold)

    def set(self, scope: str, level: str) -> None:
        """Set the level of one scope, or with ``all`` of every one of ours.

        Raises:
            ValueError: there is no such scope or level.
        """
        number = LEVELS.get(level)
        if number is None:
            raise ValueError(f"{level!r} is no level; there are {', '.join(LEVELS)}")
        if scope == ALL:
            self.begin(number)
        elif scope in self._levels:
            self._levels[scope] = number
        elif scope in LIBRARIES:
            logging.getLogger(scope).setLevel(number)
        else:
            raise ValueError(f"{scope!r} is no scope; there are {ALL}, {', '.join((*SCOPES, *LIBRARIES))}")

    def all(self) -> Mapping[str, str]:
        """Return the level of each scope."""
        libraries = {name: _nearest(logging.getLogger(name).getEffectiveLevel()) for name in LIBRARIES}
        return {name: _nearest(number) for name, number in self._levels.items()} | libraries

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Drop an event that is below the level of its scope."""
        scope = str(event.get("event", "")).partition(".")[0]
        if _METHODS.get(method, logging.ERROR) < self._levels.get(scope, self._usual):
            raise structlog.DropEvent
        return event


def _nearest(number: int) -> str:
    return _NAMES.get(number) or next((name for name, held in LEVELS.items() if held >= number), "error")


levels = Levels()
"""Those of this process."""
