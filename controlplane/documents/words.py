"""Names as Kubernetes and DNS have them, and addresses: read in linear time, whatever the text is."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_pton

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_IN_LABEL = _LOWER | {"-"}


def is_label(text: str) -> bool:
    """Whether this is a part of a DNS name: lower-case letters, digits and, inside, hyphens. Length does not count."""
    return bool(text) and text[0] in _LOWER and text[-1] in _LOWER and _IN_LABEL.issuperset(text)


def is_subdomain(text: str) -> bool:
    """Whether this is one or more labels with dots between them."""
    return is_label(text) if "." not in text else all(map(is_label, text.split(".")))


def is_ip(text: str) -> bool:
    """Whether this is an IP address as Istio reads one; an IPv6 address may have a zone (``fe80::1%eth0``)."""
    if is_portable_ip(text):
        return True
    address, _, zone = text.partition("%")
    return bool(zone) and "%" not in zone and "/" not in zone and ":" in address and is_portable_ip(address)


def is_portable_ip(text: str) -> bool:
    """Whether this is an IP address that means the same on every machine: a zone is an interface of one of them.

    Envoy refuses a zone that its machine does not have. Zeros in front of a number are none of an address.
    """
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True
