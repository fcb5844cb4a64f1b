"""Virtual hosts one by one (VHDS): the same route configurations, in another form.

A proxy that takes them so gets of each route configuration a *shell*, which says that its virtual hosts come by
themselves, and each virtual host as a resource called ``<route configuration>/<virtual host>``. Both are cut from the
bytes of the route configuration as it was built, so whoever built or patched it knows nothing of this.

Envoy 1.37 and newer subscribe to them on the delta ADS stream (older ones refuse such a route configuration), and by a
wildcard: with the first shell they ask for "all", once on a stream, and say nothing when a further shell comes. What
they get of a route configuration that they do not watch at that moment is dropped. So each shell that is sent makes
all of its virtual hosts due (``responses``).
"""

from __future__ import annotations

import weakref
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.route.v3.route_pb2 import RouteConfiguration, Vhds

from controlplane.model.proxy import Proxy
from controlplane.rope import Rope, Strand, changed_range
from controlplane.snapshots import Resource, ResourceType, content_version

METADATA = "VIRTUAL_HOST_DISCOVERY"
"""Key of a node's metadata: whether the proxy is to get virtual hosts one by one; else the server's setting says."""
OLDEST_ENVOY_MINOR = 37
"""Envoy 1.36 refuses ``vhds`` over ADS; found out with 1.36.4, 1.37.0, 1.38.3, 1.39.3 and 1.40.0."""
_NAME_TAG, _HOST_TAG, _VHDS_TAG = 0x0A, 0x12, 0x4A  # of VirtualHost, and of RouteConfiguration
MOST_KNOWN = 1 << 16
"""Virtual hosts of which the resource is remembered: those of 20,000 services for 200 namespaces are 40,000."""
_FEW_PIECES = 16
NO_ROUTES: Mapping[str, frozenset[str]] = MappingProxyType({})
_NO_NAMES: frozenset[str] = frozenset()


def takes_virtual_hosts(proxy: Proxy, *, offered: bool) -> bool:
    """Whether a proxy on a delta stream gets virtual hosts one by one; ``offered``: unless it says no."""
    if proxy.envoy_minor is None or proxy.envoy_minor < OLDEST_ENVOY_MINOR:
        return False
    wanted = proxy.metadata.get(METADATA)
    return offered if wanted is None else wanted is True


def route_of(name: str) -> str:
    """Return the route configuration that a virtual host's resource belongs to: Envoy goes by the last slash too."""
    return name.rpartition("/")[0]


class _Places:
    """Stands for the names of virtual hosts in an order."""


class Pieces:
    """What pieces of a route configuration hold, shared by all that have them: ``single`` by their positions.

    Where it is the same object, ``places`` says that the names of these are the same, position by position.
    ``before`` are pieces that they are probably much like: then only what is different is looked at.
    """

    def __init__(self, route: str, pieces: tuple[bytes, ...], before: Pieces | None = None) -> None:
        self.pieces = pieces
        self.places = _Places()
        self._differences: weakref.WeakKeyDictionary[Pieces, frozenset[str]] = weakref.WeakKeyDictionary()
        if before is None or not self._follow(route, before):
            self._begin(route)

    def _begin(self, route: str) -> None:
        self.single = [_single(route, piece) for piece in self.pieces]
        self.hosts: dict[str, Resource] = _by_name(self.single)
        self._plain = len(self.hosts) == len(self.pieces)  # each is a virtual host of a name of its own
        self.rest: list[bytes] = []
        for piece, found in zip(self.pieces, self.single, strict=True):
            if found is None:
                self.rest.extend(_cut(route, piece, self.hosts))
        self.names = _one_set(frozenset(self.hosts))

    def _follow(self, route: str, before: Pieces) -> bool:
        """Take over what is the same; return whether that and what differs are all there is."""
        start, old_end, new_end = changed_range(before.pieces, self.pieces)
        come = [_single(route, piece) for piece in self.pieces[start:new_end]]
        old, new = _by_name(before.single[start:old_end]), _by_name(come)
        kept = before.hosts.keys() - old.keys() if old.keys() != new.keys() else ()
        if not before._plain or len(new) < len(come) or not new.keys().isdisjoint(kept):
            return False
        if _names_of(come) == _names_of(before.single[start:old_end]):
            self.places = before.places
        hosts = dict(before.hosts)
        for name in old.keys() - new.keys():
            del hosts[name]
        self.hosts = hosts | new
        self.single = [*before.single[:start], *come, *before.single[old_end:]]
        self._plain, self.rest = True, before.rest
        self.names = before.names if old.keys() == new.keys() else _one_set(frozenset(self.hosts))
        other = frozenset(name for name in old.keys() | new.keys() if old.get(name) is not new.get(name))
        self._differences[before] = other
        return True

    def differing(self, before: Pieces) -> frozenset[str]:
        """Return the names that mean something else than in ``before``, found out once for all that have both."""
        found = self._differences.get(before)
        if found is None:
            old = before.hosts
            found = frozenset(name for name, each in self.hosts.items() if old.get(name) is not each)
            found = self._differences[before] = found | (before.names - self.names)
        return found


def _by_name(found: Sequence[Resource | None]) -> dict[str, Resource]:
    return {each.name: each for each in found if each is not None}


def _names_of(found: Sequence[Resource | None]) -> list[str | None]:
    return [each.name if each is not None else None for each in found]


class Swapped:
    """Pieces in place of others, as virtual hosts: ``own`` by name.

    ``alike``: each is in place of one that has its name; ``renamed``: some are in place of others by name.
    """

    def __init__(self, route: str, held: Pieces, swaps: Mapping[int, bytes]) -> None:
        self.swaps, self.places = swaps, held.places  # held so that their ids are not given again
        pairs = [(held.single[at], _single(route, piece)) for at, piece in swaps.items()]
        self.own = {new.name: new for _, new in pairs if new is not None}
        self.alike = all(old is not None and new is not None and old.name == new.name for old, new in pairs)
        self.renamed = any(old is not None and (new is None or new.name != old.name) for old, new in pairs)


class SplitRoute:
    """A route configuration as its shell and its virtual hosts: those of ``parts``, some of them replaced by ``own``.

    ``whole`` is what it was cut from. One without virtual hosts has an empty resource in their place: Envoy waits for
    an answer, and takes that for one ("the management server returns empty resources").
    """

    def __init__(self, whole: Resource, parts: Sequence[tuple[Pieces, Swapped]]) -> None:
        self.whole = whole
        self.parts = tuple(held for held, _ in parts)
        self.swapped = swapped = [each for _, each in parts if each.swaps]  # held for those that come later
        self.own: Mapping[str, Resource] = {}
        for each in swapped:
            self.own = {**self.own, **each.own} if self.own else each.own
        self.names = _NO_NAMES
        for held in self.parts:
            self.names = joined_names(self.names, held.names)
        if any(each.renamed for each in swapped):
            found = (each for held, swap in parts for each in _listed(whole.name, held, swap.swaps))
            self.own = {each.name: each for each in found}
            self.parts, self.names = (), frozenset(self.own)  # others by name: nothing is shared then
        elif not all(each.alike for each in swapped) and not self.names >= self.own.keys():
            self.names |= self.own.keys()
        if not self.names:
            none = f"{whole.name}/-"
            self.own, self.names = {none: Resource(ResourceType.VIRTUAL_HOST, none, "none", b"")}, frozenset({none})
        rest = (each for held, _ in parts for each in held.rest)
        self.shell = Resource.of(ResourceType.ROUTE, whole.name, b"".join([*rest, _VHDS]))

    def get(self, name: str) -> Resource | None:
        """Return the resource of a virtual host."""
        found = self.own.get(name)
        if found is None:
            found = next((held.hosts[name] for held in self.parts if name in held.hosts), None)
        return found

    @property
    def hosts(self) -> Mapping[str, Resource]:
        """All virtual hosts by the names of their resources."""
        found: dict[str, Resource] = {}
        for part in self.parts:
            found |= part.hosts
        found.update(self.own)
        return found

    def differing(self, before: SplitRoute) -> frozenset[str]:
        """Return names among which are all that mean something else than in ``before``: few, however many there are."""
        if len(self.parts) != len(before.parts):
            return self.names | before.names
        shared = (new.differing(old) for new, old in zip(self.parts, before.parts, strict=True) if new is not old)
        own, was = self.own, before.own
        if own is was:
            return _NO_NAMES.union(*shared)
        swapped = [name for name, each in own.items() if was.get(name) is not each]
        return frozenset().union(swapped, was.keys() - own.keys(), *shared)


def _listed(route: str, held: Pieces, swaps: Mapping[int, bytes]) -> Iterator[Resource]:
    """Yield the virtual hosts of pieces of which some are replaced."""
    for position, each in enumerate(held.single):
        found = _single(route, swaps[position]) if position in swaps else each
        if found is not None:
            yield found


class SplitHosts(Mapping[str, Resource]):
    """The virtual hosts of several route configurations by the names of their resources."""

    def __init__(self, routes: Mapping[str, SplitRoute]) -> None:
        self.routes = routes
        self._size = sum(len(each.names) for each in routes.values())

    def __getitem__(self, name: str) -> Resource:
        route = self.routes.get(route_of(name))
        found = route.get(name) if route is not None else None
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        for each in self.routes.values():
            yield from each.names

    def __len__(self) -> int:
        return self._size

    @property
    def shared(self) -> tuple[Pieces, ...]:
        """What others hold too: each the same object for all."""
        return tuple([part for each in self.routes.values() for part in each.parts])

    @property
    def own(self) -> Mapping[str, Resource]:
        """What these have beyond that, or in place of it."""
        found: dict[str, Resource] = {}
        for each in self.routes.values():
            found |= each.own
        return found

    def items(self) -> ItemsView[str, Resource]:
        """Return all at once, which is many times faster than one by one."""
        found: dict[str, Resource] = {}
        for each in self.routes.values():
            found |= each.hosts
        return found.items()

    def differing(self, before: SplitHosts) -> frozenset[str]:
        """Return names among which are all that mean something else than in ``before``."""
        found = _NO_NAMES
        for name in self.routes.keys() | before.routes.keys():
            new, old = self.routes.get(name), before.routes.get(name)
            if new is None or old is None:
                found = found.union(new.names if new is not None else (), old.names if old is not None else ())
            elif new is not old:
                found |= new.differing(old)
        return found


class Splitter:
    """Splits route configurations, each once while anybody holds what came of it."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[int, SplitRoute] = weakref.WeakValueDictionary()
        self._pieces: weakref.WeakValueDictionary[tuple[str, int], Pieces] = weakref.WeakValueDictionary()
        self._latest: weakref.WeakValueDictionary[str, Pieces] = weakref.WeakValueDictionary()  # of many pieces
        self._swapped: weakref.WeakValueDictionary[tuple[str, int, int], Swapped] = weakref.WeakValueDictionary()

    def split(self, whole: Resource) -> SplitRoute | None:
        """Return both halves; ``None`` where it stays in one piece.

        That is one of a single service, which has a listener to itself (``host:port``).
        """
        if ":" in whole.name and not whole.name.startswith("unix:"):
            return None
        found = self._known.get(id(whole))  # safe as a key: what is known holds the very object
        if found is None:
            strands = whole.content.strands if isinstance(whole.content, Rope) else (Strand.of((whole.content,)),)
            parts = [self._part(whole.name, strand) for strand in strands]
            found = self._known[id(whole)] = SplitRoute(whole, parts)
        return found

    def _part(self, route: str, strand: Strand) -> tuple[Pieces, Swapped]:
        """Return the pieces of a strand, and what is in place of some: the same as before where these are the same."""
        held = self._of(route, strand.pieces)
        key = (route, id(held.places), id(strand.swaps))
        swapped = self._swapped.get(key)
        if swapped is None:
            swapped = self._swapped[key] = Swapped(route, held, strand.swaps)
        return held, swapped

    def _of(self, route: str, pieces: tuple[bytes, ...]) -> Pieces:
        found = self._pieces.get((route, id(pieces)))
        if found is None:
            many = len(pieces) > _FEW_PIECES
            found = self._pieces[route, id(pieces)] = Pieces(route, pieces, self._latest.get(route) if many else None)
            if many:
                self._latest[route] = found
        return found


@lru_cache(maxsize=64)
def _one_set(names: frozenset[str]) -> frozenset[str]:
    """Return the same set for all equal ones: what compares it need not look at its names."""
    return names


@lru_cache(maxsize=64)
def joined_names(some: frozenset[str], more: frozenset[str]) -> frozenset[str]:
    """Return both sets as one, which all share who have the same two."""
    return some | more if some and more else some or more


@lru_cache(maxsize=MOST_KNOWN)
def _single(route: str, piece: bytes) -> Resource | None:
    """Return the resource of a piece that is one virtual host and nothing else; pieces know their hashes."""
    if not piece or piece[0] != _HOST_TAG:
        return None
    start, size = _length(piece, 1)
    return _resource(route, piece[start:]) if start + size == len(piece) else None


def _cut(route: str, piece: bytes, hosts: dict[str, Resource]) -> Iterator[bytes]:
    """Put the virtual hosts of a piece into ``hosts``, and yield its other fields."""
    for start, value, end in _fields(piece):
        if piece[start] == _HOST_TAG:
            found = _resource(route, piece[value:end])
            hosts[found.name] = found
        elif piece[start] != _VHDS_TAG:
            yield piece[start:end]


def _resource(route: str, message: bytes) -> Resource:
    """Return a virtual host as a resource. It is renamed to the resource's name, by which Envoy takes it away."""
    name = next((message[value:end] for start, value, end in _fields(message) if message[start] == _NAME_TAG), b"")
    called = f"{route}/{name.decode().replace('/', '%2F')}"
    encoded = called.encode()
    # of two values of a field the last one counts
    body = b"".join((message, bytes((_NAME_TAG,)), _varint(len(encoded)), encoded))
    return Resource(ResourceType.VIRTUAL_HOST, called, content_version(body), body)


def _fields(message: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield where each field of an encoded message starts, where its value does, and where it ends."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _number(message, at)
        match tag & 7:
            case 0:
                _, end = _number(message, at)
            case 1:
                end = at + 8
            case 2:
                at, size = _length(message, at)
                end = at + size
            case _:
                end = at + 4
        yield start, at, end
        at = end


def _length(message: bytes, at: int) -> tuple[int, int]:
    """Return where a value starts, and how long it is."""
    size, start = _number(message, at)
    return start, size


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return a varint, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:  # noqa: PLR2004 - the last one
            return number, at


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:  # noqa: PLR2004 - one byte holds seven bits
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _vhds() -> bytes:
    """Encode the field of a shell; as for route configurations, Envoy waits however long it takes."""
    source = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
    source.initial_fetch_timeout.SetInParent()
    return bytes(RouteConfiguration(vhds=Vhds(config_source=source)).SerializeToString(deterministic=True))


_VHDS = _vhds()
