"""Who may see the debug endpoints: callers on this machine, who mean this machine."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


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
