"""Policies for cryptography: the values of ``COMPLIANCE_POLICY``, which is istiod's variable and its agent's."""

from __future__ import annotations

COMPLIANCE_POLICY = "COMPLIANCE_POLICY"
FIPS_140_2, FIPS_140_3, POST_QUANTUM = "fips-140-2", "fips-140-3", "pqc"
FIPS_CIPHERS = tuple(
    f"ECDHE-{key}-{cipher}" for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384") for key in ("ECDSA", "RSA")
)
"""Of TLS 1.2, by OpenSSL's names."""
