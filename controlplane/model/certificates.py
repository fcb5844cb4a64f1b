"""When certificates begin and end, as far as anybody looks at that."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE_KINDS = ("root", "intermediate", "serving", "secret")
_LAST_PART = 10
"""A certificate is ending when only one part of so many is left of its life."""


class Certificate(NamedTuple):
    """When a certificate begins and ends; ``kind`` is one of ``CERTIFICATE_KINDS``, ``name`` is for people."""

    kind: str
    name: str
    begins: datetime
    ends: datetime

    @classmethod
    def of(cls, kind: str, certificate: x509.Certificate) -> Certificate:
        """Return what matters here of a certificate."""
        name = certificate.subject.rfc4514_string() or f"number {certificate.serial_number:x}"
        return cls(kind, name, certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    def problem(self, now: datetime) -> str:
        """Return a sentence about it if it ends soon; empty if there is time."""
        if now >= self.ends:
            return f"the {self.kind} certificate {self.name} ended at {self.ends.isoformat()}"
        if self.ends - now < (self.ends - self.begins) / _LAST_PART:
            return f"the {self.kind} certificate {self.name} ends at {self.ends.isoformat()}"
        return ""
