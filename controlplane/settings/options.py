"""What is said of a setting: its help, its group, and the flag and variable that follow from its name."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

ENVIRONMENT_PREFIX = "CONTROLPLANE_"

SERVING = "Where it listens"
SOURCES = "Where configuration comes from"
KUBE_CLUSTER = "The Kubernetes cluster"
PUSHING = "How changes are sent"
CONNECTIONS = "Connections of proxies"
LIMITS = "What one peer may take"
IDENTITY = "Certificates and who may connect"
LOGGING = "Logs"


class LogLevel(StrEnum):
    """The least severe event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How events are written; ``AUTO`` is the console format on a terminal and JSON otherwise."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class Option(NamedTuple):
    """What ``serve --help`` says of a setting: the group it is in, and a sentence.

    ``istiod`` is the environment variable by which istiod knows the same; it counts where ours is not set.
    """

    panel: str
    text: str
    istiod: str = ""


def option(said: Option | str) -> Option:
    """Return what ``serve --help`` says of a field, from what its annotation says: a limit is a sentence."""
    return Option(LIMITS, said) if isinstance(said, str) else said


def flag(name: str) -> str:
    """Return the command-line flag of a field."""
    return f"--{name.replace('_', '-')}"


def environment_variable(name: str) -> str:
    """Return the environment variable that sets a field."""
    return f"{ENVIRONMENT_PREFIX}{name.upper()}"
