"""Which virtual host and which route a request is for, and what keeps it from the routes before.

Reference: envoy.config.route.v3.VirtualHost.domains and RouteMatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from controlplane.documents.nearest import nearest
from controlplane.simulate.call import UnsupportedError
from controlplane.simulate.request import Request
from controlplane.simulate.text_matching import (
    full_match,
    header_matches,
    header_shown,
    metadata_matches,
    metadata_shown,
    parameter_matches,
    parameter_shown,
    parameters,
)

_MATCH_FIELDS = frozenset(
    {
        "prefix",
        "path",
        "safe_regex",
        "path_separated_prefix",
        "case_sensitive",
        "headers",
        "query_parameters",
        "dynamic_metadata",
    }
)
_PATHS = {"prefix": "= {}*", "path": "= {}", "path_separated_prefix": "below {}", "safe_regex": "~ {}"}


class Condition(NamedTuple):
    """One thing that a route asks for, of which ``kind``, as a person writes it, and whether the request has it."""

    kind: str
    text: str
    met: bool

    @property
    def asks(self) -> bool:
        """Whether there are requests that it keeps out."""
        return (self.kind, self.text) != ("path", "= /*")


def virtual_host(routes: Any, authority: str) -> tuple[Any, str]:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the virtual host of an authority and the domain it was found by; ``None`` and nothing where there is none.

    Exact domain, longest ``*suffix``, longest ``prefix*``, then ``*``.
    """
    name = authority.lower()
    if routes.ignore_port_in_host_matching:
        name = without_port(name)
    best: tuple[int, int] = (0, 0)
    found, by = None, ""
    for host in routes.virtual_hosts:
        for domain in host.domains:
            rank = _domain_rank(domain.lower(), name)
            if rank > best:
                best, found, by = rank, host, domain
    return found, by


def without_port(authority: str) -> str:
    """Return a host without the port behind it."""
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isascii() and port.isdigit() and not host.endswith(":") else authority


def _domain_rank(domain: str, name: str) -> tuple[int, int]:
    if domain == name:
        return 4, 0
    if domain == "*":
        return 1, 0
    if domain.startswith("*") and name.endswith(domain[1:]) and len(name) >= len(domain):
        return 3, len(domain)
    if domain.endswith("*") and name.startswith(domain[:-1]) and len(name) >= len(domain):
        return 2, len(domain)
    return 0, 0


def nearest_domains(routes: Any, authority: str) -> list[str]:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the domains that are most like an authority, at most three."""
    domains = [domain for host in routes.virtual_hosts for domain in host.domains if domain != "*"]
    return nearest(without_port(authority), domains)


def conditions(match: Any, request: Request) -> Iterator[Condition]:  # noqa: ANN401 - Envoy's messages carry no types
    """Yield what a route asks for, the path first.

    Raises:
        UnsupportedError: it asks for something that is not known here.
    """
    unknown = {name.name for name, _ in match.ListFields()} - _MATCH_FIELDS
    if unknown:
        raise UnsupportedError(f"a route matches by {', '.join(sorted(unknown))}")
    yield _path(match, request.path)
    for header in match.headers:
        yield Condition("header", header_shown(header), header_matches(header, request.headers))
    held = parameters(request.query)
    for one in match.query_parameters:
        yield Condition("query", parameter_shown(one), parameter_matches(one, held))
    for one in match.dynamic_metadata:
        yield Condition("token", metadata_shown(one), metadata_matches(one, request.metadata))


def matches(match: Any, request: Request) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether a route takes a request."""
    return all(condition.met for condition in conditions(match, request))


def asked_for(match: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return what a route asks for, in one line."""
    parts = [f"path {_path(match, '').text}", *(header_shown(each) for each in match.headers)]
    parts += [f"query {parameter_shown(each)}" for each in match.query_parameters]
    return ", ".join([*parts, *(f"token {metadata_shown(each)}" for each in match.dynamic_metadata)])


def _path(match: Any, path: str) -> Condition:  # noqa: ANN401 - Envoy's messages carry no types
    kind = match.WhichOneof("path_specifier")
    if kind == "safe_regex":
        return Condition("path", _PATHS[kind].format(match.safe_regex.regex), full_match(match.safe_regex.regex, path))
    wanted = str(getattr(match, kind))
    text = _PATHS[kind].format(wanted)
    if match.HasField("case_sensitive") and not match.case_sensitive.value:
        wanted, path = wanted.lower(), path.lower()
        text += " in any case"
    if kind == "path":
        return Condition("path", text, path == wanted)
    if kind == "prefix":
        return Condition("path", text, path.startswith(wanted))
    return Condition("path", text, path == wanted or path.startswith(wanted + "/"))
