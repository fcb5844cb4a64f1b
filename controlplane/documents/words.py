"""Names as Kubernetes and DNS have them, read character by character: in linear time, whatever the text is."""

from __future__ import annotations

from socket import AF_INET, inet_pton

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_IN_LABEL = _LOWER | {"-"}
_OCTETS = 4
_MAX_OCTET = 255
_DIGITS = 3


def is_label(text: str) -> bool:
    """Whether this is a part of a DNS name: lower-case letters, digits and, inside, hyphens. Length does not count."""
    return bool(text) and text[0] in _LOWER and text[-1] in _LOWER and _IN_LABEL.issuperset(text)


def is_subdomain(text: str) -> bool:
    """Whether this is one or more labels with dots between them."""
    return is_label(text) if "." not in text else all(map(is_label, text.split(".")))


def is_plain_ipv4(text: str) -> bool:
    """Whether it is one as everybody writes it, without zeros in front; found out without a look at each character."""
    try:
        inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def is_ipv4(text: str) -> bool:
    """Whether this is an IPv4 address as four decimal numbers."""
    if is_plain_ipv4(text):
        return True
    parts = text.split(".", _OCTETS)
    return len(parts) == _OCTETS and all(
        part.isascii() and part.isdigit() and len(part) <= _DIGITS and int(part) <= _MAX_OCTET for part in parts
    )
