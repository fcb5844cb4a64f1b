"""What each connected proxy was sent, acknowledged and refused: values for status views and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from controlplane.model.proxy import Proxy
from controlplane.snapshots import ResourceType


class Sync(Enum):
    """State of one type on one stream, in CSDS words; a type that was never asked for has no entry."""

    SYNCED = "SYNCED"
    STALE = "STALE"
    NOT_SENT = "NOT SENT"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Rejection:
    """The last refusal of a type: Envoy's own message, the response version it refused, and when."""

    version: str
    message: str
    at: datetime
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type on one stream. Versions are response versions (hashes), revisions the registry's counter.

    ``rejection`` is the refusal that is still in force; an acknowledgement clears it.
    ``failed`` says of each name that the proxy asks for why it could not be built (``*``: of all that are not there);
    it has the last good one, or nothing was said of it.
    ``sent_at`` is ``None`` until something was sent. ``names`` are the subscribed names, ``None`` for a wildcard.
    """

    sync: Sync
    sent_version: str = ""
    acked_version: str = ""
    sent_nonce: str = ""
    acked_nonce: str = ""
    sent_revision: int = 0
    acked_revision: int = 0
    sent_at: datetime | None = None
    names: frozenset[str] | None = None
    rejection: Rejection | None = None
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """One connected proxy. ``connection_id`` is ``<proxy id>-<n>``, as istiod names connections."""

    connection_id: str
    proxy: Proxy
    peer: str
    connected_at: datetime
    types: Mapping[ResourceType, TypeStatus] = field(default_factory=dict)
