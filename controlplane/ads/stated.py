"""What a delta proxy would say of all that it is served: by this a proxy that comes back is known to have it.

Thousands of names and versions come in each such request, in an order of the proxy's own: they are compared as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache

from controlplane.ads.contents import Contents, Names
from controlplane.ads.fields import sized
from controlplane.ads.virtual_hosts import Pieces, SplitHosts
from controlplane.snapshots import Resource, Resources


class Stated:
    """Contents as bytes of a request: names, and entries of ``initial_resource_versions`` with what they say.

    Of virtual hosts most entries are those of all namespaces, and held once; ``entries_of`` gives them.
    """

    def __init__(self, contents: Contents, entries_of: Callable[[Pieces], frozenset[bytes]]) -> None:
        self._resources = resources = contents.resources
        self.names = _encoded_names(contents.names)
        self._shared: list[frozenset[bytes]] = []
        own: Resources = resources
        replaced: dict[str, Resource] = {}
        if isinstance(resources, SplitHosts):
            own = resources.own
            self._shared = [entries_of(part) for part in resources.shared]
            replaced = {name: part.hosts[name] for part in resources.shared for name in own if name in part.hosts}
        self._own = entries(own)
        self._replaced = entries(replaced)

    def is_all(self, said: Sequence[bytes]) -> bool:
        """Whether these are the entries of all, in whatever order."""
        if len(said) != len(self._resources):
            return False
        stated = set(said)
        return stated >= self._own and all(each - stated <= self._replaced for each in self._shared)

    @cached_property
    def versions(self) -> Mapping[bytes, tuple[str, str]]:
        """Name and version by entry."""
        return {_held_entry(name, each.version): (name, each.version) for name, each in self._resources.items()}


def entries(resources: Resources) -> frozenset[bytes]:
    """Return the entries of ``initial_resource_versions`` of these resources."""
    return frozenset([_held_entry(name, each.version) for name, each in resources.items()])


@lru_cache(maxsize=16)
def _encoded_names(names: Names) -> frozenset[bytes]:
    return frozenset(map(str.encode, names))


@lru_cache(maxsize=1 << 14)
def _held_entry(name: str, version: str) -> bytes:
    """Encode an entry of ``initial_resource_versions``; contents that share a resource mostly share the object.

    That is a few MB when full, and four times as fast for a class whose resources are those of another one.
    """
    return sized(1, name.encode()) + sized(2, version.encode())
