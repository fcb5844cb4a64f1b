"""Why a stream is not served, in terms that every transport can express."""

from __future__ import annotations

from enum import Enum


class Refusal(Enum):
    """Kinds of refusal; the values are the names of the gRPC status codes that mean the same."""

    INVALID = "INVALID_ARGUMENT"
    UNAVAILABLE = "UNAVAILABLE"
    TOO_MANY = "RESOURCE_EXHAUSTED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "PERMISSION_DENIED"
    PRECONDITION = "FAILED_PRECONDITION"


class StreamRefused(Exception):  # noqa: N818 - it states what happened to the stream, as callers speak of it
    """The stream ends, and the peer is told why: ``kind`` says what sort of reason, ``str()`` the sentence."""

    def __init__(self, kind: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
