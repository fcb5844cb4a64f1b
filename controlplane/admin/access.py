"""Who may see the debug endpoints: callers on this machine, who mean this machine, and no web page of elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit


def is_loopback(peer: str | None) -> bool:
    """Whether a caller's address is this machine's own; a caller without an address is not trusted."""
    try:
        address = ip_address((peer or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def names_this_machine(host: str | None) -> bool:
    """Whether a request's ``Host`` is this machine's own: a loopback address or ``localhost``, with any port or none.

    A page that a browser loaded from elsewhere can have its own host name resolve to 127.0.0.1 and then read what is
    answered there ("DNS rebinding"); its requests still carry that name.
    """
    name = (host or "").strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    return name.removesuffix(".") == "localhost" or is_loopback(name)


def is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser asks on behalf of a page that this port has not served.

    Such a page cannot read the answer, but each question costs something. Browsers say it with ``Sec-Fetch-Site``
    (W3C, Fetch Metadata), older ones, where something is posted, with ``Origin``; no other program sends these.
    """
    if headers.get("Sec-Fetch-Site", "none").lower() not in {"none", "same-origin"}:
        return True
    origin = headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("Host", "").strip().lower()
