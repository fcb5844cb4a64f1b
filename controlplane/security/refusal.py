"""Why a caller is refused, in terms that every transport can express."""

from __future__ import annotations

from enum import Enum


class Refusal(Enum):
    """Kinds of refusal; the values are the names of the gRPC status codes that mean the same."""

    INVALID = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "PERMISSION_DENIED"
    UNAVAILABLE = "UNAVAILABLE"
    TOO_MANY = "RESOURCE_EXHAUSTED"
    INTERNAL = "INTERNAL"


class CallRefused(Exception):  # noqa: N818 - it states what happened to the call, as callers speak of it
    """The call is not answered, and the caller is told why: ``kind`` is the sort of reason, ``str()`` the sentence."""

    def __init__(self, kind: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class NamesRefused(CallRefused):
    """A request for a certificate has other names than its sender, or none where it must have them."""
