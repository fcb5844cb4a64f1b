"""The domains under which a client may address a service: full name, short names, addresses.

A Kubernetes proxy's own DNS domain is ``<namespace>.svc.<domain>``; a service of its namespace has the short name
``name``, any other ``name.namespace``. Elsewhere a short name is what the two domains do not share.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from controlplane.documents.words import is_ip
from controlplane.model.service import Service

#: how a name can be shortened: not at all, within the proxy's namespace, from another one; else a DNS domain to compare
NONE, OWN, OTHER = "", "=", "+"
_TWO_LABELS = 2


class DomainOptions(NamedTuple):
    """What of a service's names and addresses one kind of client uses.

    ``with_port`` adds each name with the port too, ``only_with_port`` keeps just those. ``auto`` clients resolve
    allocated addresses. ``settings`` are of their own ProxyConfig, as in ``ClientScope``: they choose headers.
    """

    ipv4: bool = True
    ipv6: bool = False
    auto: bool = False
    with_port: bool = False
    only_with_port: bool = False
    settings: str = ""


class Alias(NamedTuple):
    """Another host name of a service, and how it shortens."""

    hostname: str
    shortening: str


class Shortening:
    """How host names shorten for proxies of one DNS domain."""

    __slots__ = ("_domain", "_own", "_suffix")

    def __init__(self, domain: str) -> None:
        self._domain = domain
        at = domain.find(".svc.")
        self._suffix = domain[at:] if at >= 0 else ""
        self._own = f".{domain}" if at >= 0 else ""

    def of(self, hostname: str) -> str:
        """Return ``NONE``, ``OWN``, ``OTHER``, or the DNS domain that the name has to be compared with."""
        if not self._suffix:
            return self._domain if _common(hostname, self._domain) else NONE
        if not hostname.endswith(self._suffix):
            return NONE
        first = hostname.find(".")
        if hostname.endswith(self._own) and first == len(hostname) - len(self._own):
            return OWN
        return OTHER if 0 <= first < len(hostname) - len(self._suffix) else NONE


@lru_cache(maxsize=64)
def shortening(domain: str) -> Shortening:
    """Return how names shorten for a proxy's DNS domain; made once for each."""
    return Shortening(domain)


def neutral_domain(domain: str) -> str:
    """Return the DNS domain of a client in no namespace of the same cluster: no service is of its own namespace."""
    at = domain.find(".svc.")
    return domain[at:] if at >= 0 else domain


def _common(hostname: str, domain: str) -> int:
    """Return how many trailing labels two names share."""
    shared = 0
    for left, right in zip(reversed(hostname.split(".")), reversed(domain.split(".")), strict=False):
        if left != right:
            break
        shared += 1
    return shared if domain else 0


def short_names(hostname: str, how: str) -> list[str]:
    """Return the shorter names of a host, in Istio's order."""
    if how == NONE:
        return []
    if how in {OWN, OTHER}:
        name, _, _ = hostname.partition(".")
        stem = hostname[: hostname.index(".svc.")]
        return [name, f"{stem}.svc", stem] if how == OWN else [stem, f"{stem}.svc"]
    shared = _common(hostname, how)
    labels = hostname.split(".")
    unique = labels[: len(labels) - shared]
    if not unique:
        return []
    short = ".".join(unique)
    return [short, f"{short}.{labels[len(unique)]}"] if len(unique) == _TWO_LABELS else [short]


def service_domains(
    service: Service, port: int, how: str, options: DomainOptions, aliases: Iterable[Alias] = ()
) -> Domains:
    """Return the domains of a service at one port for one kind of client."""
    names: list[str] = []
    alternates: list[str] = []

    def add(name: str, to: list[str] = names) -> None:
        text = bracketed(name)
        for form in (text, f"{text}:{port}") if options.with_port else (text,):
            names.append(form)
            if to is not names:
                to.append(form)

    for hostname, shortened in ((service.hostname, how), *aliases):
        add(hostname)
        if not is_ip(hostname):
            names.append(f"{hostname}.")
        if options.with_port:
            names.append(f"{hostname}.:{port}")
        for name in short_names(hostname, shortened):
            add(name, alternates)
    if service.headless:
        names += [f"*.{name}" for name in names]
    for address in addresses(service, options):
        add(address)
    kept = dict.fromkeys(name for name in names if not options.only_with_port or ":" in name)
    return Domains(tuple(kept), frozenset(alternates))


class Domains(NamedTuple):
    """Domains in order; ``alternates`` are the generated short names among them, which give way to real hosts."""

    names: tuple[str, ...]
    alternates: frozenset[str]


def addresses(service: Service, options: DomainOptions) -> tuple[str, ...]:
    """Return the virtual addresses of a service that a client can use.

    Where no family fits, it is the first one of those a ServiceEntry states: they stand for hosts, not for families.
    """
    held = service.addresses or (service.auto_addresses if options.auto else ())
    held = tuple(address for address in held if address not in {"0.0.0.0", "::"})  # noqa: S104 - unset
    fitting = tuple(address for address in held if (options.ipv6 if ":" in address else options.ipv4))
    return fitting or (held[:1] if service.addresses and not service.kubernetes else ())


def bracketed(host: str) -> str:
    """Return a host as it stands in a URL: IPv6 addresses and ranges in brackets."""
    return f"[{host}]" if ":" in host else host
