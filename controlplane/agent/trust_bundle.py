"""Further roots that the control plane sends. Source: ``istio.mesh.v1alpha1.ProxyConfig.ca_certificates_pem``."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.agent.protobuf_fields import length_delimited

TYPE_URL = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"
_CA_CERTIFICATES_PEM = 34


def roots(encoded: bytes) -> Iterable[str]:
    """Return the roots (PEM) of an encoded ProxyConfig. Raises ``ValueError``."""
    return [
        encoded[start:end].decode()
        for number, start, end in length_delimited(encoded)
        if number == _CA_CERTIFICATES_PEM
    ]
