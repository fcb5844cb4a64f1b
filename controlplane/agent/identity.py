"""What proves who a workload is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """A SPIFFE id with the key and certificates that prove it, all PEM. Never printed."""

    spiffe_id: str
    certificate_chain: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    root_certificate: bytes = field(repr=False)
