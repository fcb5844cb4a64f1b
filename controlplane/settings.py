"""Everything that ``serve`` can be told, as one frozen value.

``Settings`` is the only statement of a setting: its fields carry the help text and the group that
``serve --help`` shows; the flag ``--max-holdoff`` and the environment variable ``CONTROLPLANE_MAX_HOLDOFF`` are
derived from the field's name. Plain dataclasses and not a settings library: that one alone takes longer to import
than the start of the whole program may.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

ENVIRONMENT_PREFIX = "CONTROLPLANE_"

_UNITS = {
    "ns": timedelta(microseconds=0.001),
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")

SERVING = "Where it listens"
SOURCES = "Where configuration comes from"
SECURITY = "Identities and certificates"
PUSHING = "How changes are sent"
CONNECTIONS = "Connections of proxies"
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


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``100ms``, ``1s`` or ``2m30s``; ``0`` needs no unit.

    Raises:
        ValueError: the text is no such duration, or a negative one.
    """
    if text == "0":
        return timedelta()
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a duration; write for example 100ms, 1s or 2m30s")
    try:
        return sum((float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)), timedelta())
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any duration can be") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration so that ``parse_duration`` reads the same one, to the microsecond."""
    rest = duration // timedelta(microseconds=1)
    parts: list[str] = []
    for unit in ("h", "m", "s", "ms", "us"):
        amount, rest = divmod(rest, _UNITS[unit] // timedelta(microseconds=1))
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0"


class Option(NamedTuple):
    """What ``serve --help`` says of a setting: the group it is in, and a sentence."""

    panel: str
    text: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How one control plane runs. Port 0 lets the system choose a free one.

    Raises:
        ValueError: values that make no sense, alone or together; the message is a sentence for the user.
    """

    config_dir: Annotated[
        Path | None, Option(SOURCES, "Serve the YAML files of this directory instead of a cluster.")
    ] = None
    domain_suffix: Annotated[str, Option(SOURCES, "DNS domain of the Kubernetes cluster.")] = "cluster.local"
    cluster_id: Annotated[str, Option(SOURCES, "Name of the Kubernetes cluster.")] = "Kubernetes"

    xds_port: Annotated[int, Option(SERVING, "Port of plaintext xDS (gRPC).")] = 15010
    xds_bind: Annotated[
        str,
        Option(
            SERVING, "Address that xDS listens on; by default loopback with --config-dir, and 0.0.0.0 in a cluster."
        ),
    ] = ""
    monitoring_port: Annotated[int, Option(SERVING, "Port of metrics, readiness and the debug endpoints.")] = 15014
    monitoring_bind: Annotated[str, Option(SERVING, "Address that the monitoring port listens on.")] = "127.0.0.1"

    tls_port: Annotated[
        int | None,
        Option(SECURITY, "Port of xDS and certificates over TLS; by default 15012, and none with --config-dir."),
    ] = None
    ca_dir: Annotated[
        Path | None,
        Option(
            SECURITY,
            "Directory of the certificate authority, /etc/cacerts by default. With --config-dir it is made if absent.",
        ),
    ] = None
    serving_names: Annotated[
        str, Option(SECURITY, "More names of the control plane in its certificate, separated by commas.")
    ] = ""
    token_audiences: Annotated[
        str, Option(SECURITY, "Audiences of which a token must have one, separated by commas.")
    ] = "istio-ca"  # noqa: S105 - an audience
    token_review_memory: Annotated[
        timedelta, Option(SECURITY, "How long the API server's word on a token is good, if the token lives so long.")
    ] = timedelta(minutes=5)
    default_workload_ttl: Annotated[
        timedelta, Option(SECURITY, "Life of a certificate where the workload asks for none.")
    ] = timedelta(hours=24)
    max_workload_ttl: Annotated[timedelta, Option(SECURITY, "Longest life that a workload may ask for.")] = timedelta(
        days=90
    )
    root_ttl: Annotated[timedelta, Option(SECURITY, "Life of a self-signed root.")] = timedelta(days=3650)
    root_overlap: Annotated[
        timedelta, Option(SECURITY, "How long a new root is trusted everywhere before anything is signed with it.")
    ] = timedelta(hours=24)
    ca_check_interval: Annotated[
        timedelta, Option(SECURITY, "Time between looks at the source of the certificate authority.")
    ] = timedelta(minutes=1)

    holdoff: Annotated[timedelta, Option(PUSHING, "After a push, gather changes until none came for so long.")] = (
        timedelta(milliseconds=100)
    )
    max_holdoff: Annotated[timedelta, Option(PUSHING, "Gather no longer than this.")] = timedelta(seconds=1)

    keepalive_interval: Annotated[timedelta, Option(CONNECTIONS, "Time between gRPC keepalive pings.")] = timedelta(
        seconds=30
    )
    keepalive_timeout: Annotated[
        timedelta, Option(CONNECTIONS, "A connection whose ping is not answered for so long is closed.")
    ] = timedelta(seconds=10)
    max_connection_age: Annotated[
        timedelta, Option(CONNECTIONS, "Connections are asked to reconnect after this; 0 for never.")
    ] = timedelta(minutes=30)
    max_connection_age_grace: Annotated[
        timedelta, Option(CONNECTIONS, "What an aged connection is given to finish.")
    ] = timedelta(seconds=10)
    max_receive_message_size: Annotated[int, Option(CONNECTIONS, "Largest request taken, in bytes.")] = 4 * 1024 * 1024
    max_concurrent_streams: Annotated[int, Option(CONNECTIONS, "Most streams on one connection.")] = 100_000
    new_streams_per_second: Annotated[
        float, Option(CONNECTIONS, "Most new streams in a second; 0 picks 15 and 5 for each processor, at most 100.")
    ] = 0.0
    drain_period: Annotated[
        timedelta, Option(CONNECTIONS, "When the control plane stops, its streams are ended one by one over this time.")
    ] = timedelta(seconds=10)

    log_level: Annotated[LogLevel, Option(LOGGING, "The least severe event that is logged.")] = LogLevel.INFO
    log_format: Annotated[
        LogFormat, Option(LOGGING, "auto is the console format on a terminal and JSON otherwise.")
    ] = LogFormat.AUTO

    def __post_init__(self) -> None:
        for name in ("xds_port", "monitoring_port", "tls_port"):
            if not 0 <= (getattr(self, name) or 0) < 1 << 16:
                raise ValueError(f"{flag(name)} must be a port number from 0 to 65535, not {getattr(self, name)}")
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{flag(setting.name)} must not be negative, and is {value}")
        for name in ("max_receive_message_size", "max_concurrent_streams"):
            if getattr(self, name) < 1:
                raise ValueError(f"{flag(name)} must be at least 1")
        for name in ("keepalive_interval", "keepalive_timeout"):
            if getattr(self, name) < timedelta(milliseconds=1):
                raise ValueError(f"{flag(name)} must be at least 1ms")
        self._check_security()
        if self.holdoff > self.max_holdoff:
            raise ValueError(
                f"--holdoff ({format_duration(self.holdoff)}) must not be longer than"
                f" --max-holdoff ({format_duration(self.max_holdoff)})"
            )
        if self.config_dir is not None and not self.config_dir.is_dir():
            raise ValueError(f"--config-dir: {self.config_dir} is not a directory")

    def _check_security(self) -> None:
        for name in ("default_workload_ttl", "root_ttl", "ca_check_interval"):
            if getattr(self, name) < timedelta(seconds=1):
                raise ValueError(f"{flag(name)} must be at least 1s")
        if self.default_workload_ttl > self.max_workload_ttl:
            raise ValueError(
                f"--default-workload-ttl ({format_duration(self.default_workload_ttl)}) must not be longer than"
                f" --max-workload-ttl ({format_duration(self.max_workload_ttl)})"
            )
        if not names(self.token_audiences):
            raise ValueError("--token-audiences must name at least one")
        if self.config_dir is not None and self.tls_port is not None and self.ca_dir is None:
            raise ValueError("--tls-port with --config-dir needs --ca-dir, where its certificate authority is kept")

    @property
    def xds_host(self) -> str:
        """The address that xDS listens on: ``xds_bind``, or the default for where configuration comes from."""
        if self.xds_bind:
            return self.xds_bind
        return "127.0.0.1" if self.config_dir is not None else "0.0.0.0"  # noqa: S104 - proxies are on other nodes

    @property
    def secure_port(self) -> int | None:
        """The port of TLS, 0 for any free one; ``None`` for none."""
        return 15012 if self.tls_port is None and self.config_dir is None else self.tls_port

    @property
    def stream_rate(self) -> float:
        """New streams admitted in a second; the automatic rate where none is set."""
        return self.new_streams_per_second or min(15.0 + 5.0 * (os.cpu_count() or 1), 100.0)


def names(text: str) -> tuple[str, ...]:
    """Return the words of a list that is separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def flag(name: str) -> str:
    """Return the command-line flag of a field."""
    return f"--{name.replace('_', '-')}"


def environment_variable(name: str) -> str:
    """Return the environment variable that sets a field."""
    return f"{ENVIRONMENT_PREFIX}{name.upper()}"
