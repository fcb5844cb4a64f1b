"""The roots of the whole mesh, as agents are told of them. Source: ``istio.mesh.v1alpha1.ProxyConfig``."""

from __future__ import annotations

from controlplane.engine.recording import Query
from controlplane.registry.store import View
from controlplane.registry.trust_bundle import trusted_roots
from controlplane.snapshots import Resource, ResourceType

NAME = ""
"""The one bundle has no name, in Istio's protocol too."""

_CA_CERTIFICATES_PEM = 34
"""The number of the message's only field that is sent; agents read no other."""
_LENGTH_DELIMITED = 2
_SEVEN_BITS = 0x7F


def _trust_bundle(view: View, _key: tuple[()]) -> Resource:
    """Return the bundle. Each root is a text of its own."""
    fields = [_text(_CA_CERTIFICATES_PEM, root) for root in trusted_roots(view)]
    return Resource.of(ResourceType.TRUST_BUNDLE, NAME, b"".join(fields))


trust_bundle: Query[tuple[()], Resource] = Query(_trust_bundle, isolated=True)


def _text(number: int, value: str) -> bytes:
    """Return a field of a message. Reference: Protocol Buffers, "Encoding"."""
    content = value.encode()
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > _SEVEN_BITS:
        encoded.append(value & _SEVEN_BITS | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
