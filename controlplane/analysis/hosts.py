"""Host names as objects give them: short names of services, full ones, wildcards; and who has which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from controlplane.analysis import raw
from controlplane.analysis.resources import Resource, Resources
from controlplane.model import kinds

EVERYWHERE = "*"
MESH = "mesh"
"""The gateway that stands for all sidecars."""
_HERE = "."
_EXPORT_TO = "networking.istio.io/exportTo"


def full_host(host: str, namespace: str, domain: str) -> str:
    """Return a host with the namespace and domain that a short name leaves out."""
    return host if "." in host or host.startswith("*") else f"{host}.{namespace}.svc.{domain}"


def overlap(one: str, other: str) -> bool:
    """Whether some name is meant by both hosts, each of which may be a wildcard."""
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    if other.startswith("*"):
        return one.endswith(other[1:])
    return one == other


def scopes(export_to: Iterable[str], namespace: str) -> set[str]:
    """Return the namespaces that see an object by its ``exportTo``; ``*`` stands for all, also where it is empty."""
    seen = {namespace if each == _HERE else each for each in export_to}
    return {EVERYWHERE} if not seen or EVERYWHERE in seen else seen


def gateway_name(named: str, namespace: str) -> tuple[str, str]:
    """Return namespace and name of a gateway that an object of this namespace names."""
    before, slash, after = named.partition("/")
    return (before, after) if slash else (namespace, named)


def serves(gateway: Resource, hosts: Iterable[str], namespace: str) -> bool:
    """Whether a server of the gateway takes one of the hosts from VirtualServices of this namespace."""
    for _, server in raw.mappings(gateway.spec, "servers"):
        for stated in raw.texts(server, "hosts"):
            scope, slash, host = stated.partition("/")
            if not slash:
                scope, host = EVERYWHERE, stated
            allowed = gateway.namespace if scope == "." else scope
            if allowed in {EVERYWHERE, namespace} and any(overlap(host, each) for each in hosts):
                return True
    return False


class Destination(NamedTuple):
    """A service that has a host: its ports with their numbers, and the labels of its workloads."""

    resource: Resource
    ports: tuple[int, ...]
    selector: dict[str, str]


class Destinations:
    """All Services and ServiceEntries by the namespaces that see them and their hosts."""

    def __init__(self, resources: Resources) -> None:
        """Gather them."""
        self._domain = resources.domain
        self._known: dict[tuple[str, str], Destination] = {}
        self._wide: defaultdict[str, list[tuple[str, Destination]]] = defaultdict(list)
        for entry in resources.of(kinds.SERVICE_ENTRY):
            ports = tuple(raw.number(port, "number") for _, port in raw.mappings(entry.spec, "ports"))
            made = Destination(entry, ports, raw.string_map(entry.spec, "workloadSelector", "labels"))
            for host in raw.texts(entry.spec, "hosts"):
                self._add(host, scopes(raw.texts(entry.spec, "exportTo"), entry.namespace), made)
        for service in resources.of(kinds.SERVICE):
            ports = tuple(raw.number(port, "port") for _, port in raw.mappings(service.spec, "ports"))
            made = Destination(service, ports, raw.string_map(service.spec, "selector"))
            stated = [each.strip() for each in service.annotations.get(_EXPORT_TO, "").split(",") if each.strip()]
            self._add(service.name, scopes(stated, service.namespace), made)

    def _add(self, host: str, seen_by: Iterable[str], made: Destination) -> None:
        full = full_host(host, made.resource.namespace, self._domain)
        for scope in seen_by:
            self._known[scope, full] = made
            if full.startswith("*"):
                self._wide[scope].append((full[1:], made))

    def find(self, host: str, namespace: str, export_to: Sequence[str] = ()) -> Destination | None:
        """Return who has the host for an object of this namespace, which is exported to these; ``None`` for nobody."""
        full = full_host(host, namespace, self._domain)
        visible = [EVERYWHERE, *(namespace if each == _HERE else each for each in export_to or (namespace,))]
        for scope in visible:
            if (found := self._known.get((scope, full))) is not None:
                return found
        bare = full.removeprefix("*")
        for scope in (EVERYWHERE, namespace):
            for suffix, made in self._wide.get(scope, ()):
                if bare.endswith(suffix):
                    return made
        return None


class Route(NamedTuple):
    """A destination of a VirtualService: the path of its field, and whether it is a mirror."""

    path: str
    host: str
    subset: str
    port: int | None
    is_mirror: bool = False


def routes(service: Resource) -> Iterator[Route]:
    """Yield all destinations of a VirtualService: of TCP, TLS and HTTP rules, then those of mirrors."""
    for part in ("tcp", "tls", "http"):
        for rule, written in raw.mappings(service.spec, part):
            for at, each in raw.mappings(written, "route"):
                if "destination" in each:
                    yield _route(raw.mapping(each, "destination"), f"spec.{part}[{rule}].route[{at}].destination")
    for rule, written in raw.mappings(service.spec, "http"):
        if written.get("mirror") is not None:
            yield _route(raw.mapping(written, "mirror"), f"spec.http[{rule}].mirror", is_mirror=True)
        for at, each in raw.mappings(written, "mirrors"):
            path = f"spec.http[{rule}].mirrors[{at}].destination"
            yield _route(raw.mapping(each, "destination"), path, is_mirror=True)


def _route(written: object, path: str, *, is_mirror: bool = False) -> Route:
    port = raw.number(written, "port", "number") if raw.at(written, "port") is not None else None
    return Route(f"{path}.host", raw.text(written, "host"), raw.text(written, "subset"), port, is_mirror)
