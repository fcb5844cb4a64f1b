"""Snapshots as many streams share them: what is derived from one is derived once.

A ``Contents`` stands for the resources of one type in one snapshot, a ``ServedSnapshot`` for a whole one. Both exist
once per mapping or snapshot object (see ``SnapshotCache``) for as long as anything refers to them, so that streams can
compare them by identity, and so that a difference between two of them is computed once, however many streams
need it.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import compress
from operator import is_, is_not
from types import MappingProxyType
from typing import NamedTuple

from controlplane.ads.credential import SecretAccess
from controlplane.ads.virtual_hosts import NO_ROUTES, SplitHosts, SplitRoute, Splitter, joined_names
from controlplane.snapshots import NO_FAILURES, WHOLE, Failures, Resource, Resources, ResourceType, Snapshot

Names = frozenset[str]

NO_NAMES: Names = frozenset()
_serials = itertools.count(1)
_MOST_SPLIT, _MOST_SPLIT_AT_ALL = 4, 1_000
"""Names in sets of which a contents remembers which it has: so many for each resource, and these. Proxies of a class
ask for the same few sets; a peer can make up as many as it likes."""


class Difference(NamedTuple):
    """What leads from one contents to another: names that are new or have a new version, and names that left."""

    changed: Names
    removed: Names


_NO_DIFFERENCE = Difference(NO_NAMES, NO_NAMES)


class _Versions(Mapping[str, str]):
    """The versions of resources, which are not listed a second time: there are as many as the mesh is large."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def __getitem__(self, name: str) -> str:
        return self._resources[name].version

    def __iter__(self) -> Iterator[str]:
        return iter(self._resources)

    def __len__(self) -> int:
        return len(self._resources)


class Contents:
    """The resources of one type in one snapshot. ``serial`` is never used again by another contents.

    ``failures`` are what could not be built: nothing is said of a name that is among them and not here. ``origin`` is
    the mapping that ``resources`` are a part of or were made from; where they say nothing of what they refer to,
    ``referring`` are resources that do. ``routes`` are the names of virtual hosts by their route configuration.
    Compared by identity, like the mapping that it stands for.
    """

    routes: Mapping[str, Names] = NO_ROUTES

    def __init__(self, resources: Resources, failures: Failures = NO_FAILURES, origin: Resources | None = None) -> None:
        self.resources = resources
        self.origin = origin  # held so that its id is not given again
        self.failures = failures
        self.referring: Iterable[Resource] = resources.values()
        self.serial = next(_serials)
        self._differences: weakref.WeakKeyDictionary[Contents, Difference] = weakref.WeakKeyDictionary()
        self._splits: dict[Names, tuple[Names, Names]] = {}
        self._split_names = 0
        self._named: dict[ResourceType, Names] = {}

    def __repr__(self) -> str:
        return f"Contents({self.serial}, {len(self.resources)} resources)"

    @cached_property
    def names(self) -> Names:
        """All names."""
        return frozenset(self.resources)

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """The version of each name, as a reconnecting delta client states them."""
        return _Versions(self.resources)

    def named(self, type_: ResourceType) -> Names:
        """Return all names of a type that these resources refer to."""
        held = self._named.get(type_)
        if held is None:
            sets = {id(names): names for resource in self.referring if (names := resource.named(type_))}
            held = NO_NAMES.union(*sets.values()) if len(sets) != 1 else next(iter(sets.values()))
            self._named[type_] = held
        return held

    def is_unbuilt(self, name: str) -> bool:
        """Whether a resource of this name may exist, and could not be built."""
        return name not in self.resources and self.failures.concerns(name)

    def since(self, before: Contents) -> Difference:
        """Return what changed from ``before`` to this."""
        if before is self:
            return _NO_DIFFERENCE
        found = self._differences.get(before)
        if found is None:
            found = self._differences[before] = self._difference(before)
        return found

    def _difference(self, before: Contents) -> Difference:
        new, old = self.resources, before.resources
        if isinstance(new, SplitHosts) and isinstance(old, SplitHosts):
            return self._difference_of(new.differing(old), before)
        if len(new) == len(old) and all(map(is_, new, old)):
            # The usual case, a few values swapped, without a look at the names one by one: meshes are large.
            if "names" in vars(before):
                self.names = before.names
            swapped = compress(new, map(is_not, new.values(), old.values()))
            return Difference(frozenset(name for name in swapped if new[name].version != old[name].version), NO_NAMES)
        changed = [
            name
            for name, resource in new.items()
            if (other := old.get(name)) is not resource and (other is None or other.version != resource.version)
        ]
        removed = frozenset(name for name in old if name not in new)
        # Often all of it, from nothing: share the set of all names.
        return Difference(self.names if len(changed) == len(new) else frozenset(changed), removed)

    def _difference_of(self, names: Names, before: Contents) -> Difference:
        """Return the difference, which is among these names."""
        new, old = self.resources, before.resources
        changed, removed = set(), set()
        for name in names:
            now, was = new.get(name), old.get(name)
            if now is None:
                removed.add(name)
            elif now is not was and (was is None or now.version != was.version):
                changed.add(name)
        return Difference(frozenset(changed), frozenset(removed))

    def split(self, names: Names) -> tuple[Names, Names]:
        """Return which of the names are here and which are not; large sets that all are here come back as they are."""
        if len(names) < 8:  # noqa: PLR2004 - cheaper than remembering
            absent = frozenset(name for name in names if name not in self.resources)
            return (names - absent if absent else names), absent
        if not self.resources:
            return NO_NAMES, names
        found = self._splits.get(names)
        if found is None:
            absent = names.difference(self.resources)
            found = ((names - absent if absent else names), absent)
            self._split_names += len(names)
            if self._split_names > _MOST_SPLIT * len(self.resources) + _MOST_SPLIT_AT_ALL:
                self._splits.clear()
                self._split_names = len(names)
            self._splits[names] = found
        return found


EMPTY = Contents(MappingProxyType({}))
"""The contents of a type that a snapshot holds nothing of; also what a new stream has been sent."""


class ServedSnapshot:
    """One snapshot. ``contents`` has an entry for each type, and one for ``None``, types that we know nothing of."""

    def __init__(self, snapshot: Snapshot, contents: Mapping[ResourceType, Contents]) -> None:
        self.snapshot = snapshot
        self.revision = snapshot.revision
        self.contents: dict[ResourceType | None, Contents] = dict(_NOTHING)
        self.contents.update(contents.items())

    def of(self, type_: ResourceType | None) -> Contents:
        """Return the contents of a type."""
        return self.contents[type_]


_NOTHING: Mapping[ResourceType | None, Contents] = dict.fromkeys((*ResourceType, None), EMPTY)


class SnapshotCache:
    """Gives each snapshot as it is served, and each mapping in it as contents: one object while anybody holds it."""

    def __init__(self) -> None:
        self._served: weakref.WeakValueDictionary[tuple[int, SecretAccess, bool], ServedSnapshot] = (
            weakref.WeakValueDictionary()
        )
        self._splitter = Splitter()
        self._halves: weakref.WeakValueDictionary[tuple[int, int, bool], Contents] = weakref.WeakValueDictionary()
        self._readable: weakref.WeakValueDictionary[tuple[int, SecretAccess], Contents] = weakref.WeakValueDictionary()
        self._contents: weakref.WeakValueDictionary[tuple[int, int], Contents] = weakref.WeakValueDictionary()
        self._whole: weakref.WeakValueDictionary[tuple[int, int], Contents] = weakref.WeakValueDictionary()

    def served(
        self, snapshot: Snapshot, access: SecretAccess = SecretAccess.ALL, *, split: bool = False
    ) -> ServedSnapshot:
        """Return a snapshot as it is served to those who may read that much of its secrets.

        ``split``: they get virtual hosts one by one. Object ids are safe as keys: while an entry lives it holds the
        very object, so its id is not given again.
        """
        found = self._served.get((id(snapshot), access, split))
        if found is None:
            contents = {
                type_: self._of(resources, snapshot.failed(type_)) for type_, resources in snapshot.resources.items()
            }
            if access.is_proved and ResourceType.EXTENSION in contents:
                contents[ResourceType.EXTENSION] = self._confidential(contents[ResourceType.EXTENSION])
            if access is not SecretAccess.ALL:
                contents[ResourceType.SECRET] = self._part_of(snapshot.of(ResourceType.SECRET), access)
            if split and ResourceType.ROUTE in contents:
                halves = self._split(contents[ResourceType.ROUTE])
                contents[ResourceType.ROUTE], contents[ResourceType.VIRTUAL_HOST] = halves
            found = self._served[id(snapshot), access, split] = ServedSnapshot(snapshot, contents)
        return found

    def _split(self, routes: Contents) -> tuple[Contents, Contents]:
        """Return route configurations without virtual hosts, and these by themselves."""
        known = (id(routes.resources), id(routes.failures))
        shells, hosts = self._halves.get((*known, False)), self._halves.get((*known, True))
        if shells is None or hosts is None:
            shells, hosts = _halves(
                routes, {name: self._splitter.split(each) for name, each in routes.resources.items()}
            )
            self._halves[*known, False], self._halves[*known, True] = shells, hosts
        return shells, hosts

    def _part_of(self, secrets: Resources, access: SecretAccess) -> Contents:
        """Return the secrets that somebody may read; of the others nothing is said, not even that they do not exist."""
        readable = {name: held for name, held in secrets.items() if access.allows(name)}
        key = (id(secrets) if readable else 0, access)
        found = self._readable.get(key)
        if found is None:
            found = self._readable[key] = Contents(readable, Failures({WHOLE: access.value}), secrets)
        return found

    def _confidential(self, shown: Contents) -> Contents:
        """Return the contents as those get them who have proved an identity."""
        if all(each.confidential is None for each in shown.resources.values()):
            return shown
        key = (id(shown.resources), id(shown.failures))
        found = self._whole.get(key)
        if found is None:
            whole = {name: each.confidential or each for name, each in shown.resources.items()}
            found = self._whole[key] = Contents(whole, shown.failures, shown.resources)
        return found

    def _of(self, resources: Resources, failures: Failures) -> Contents:
        if not resources and not failures:
            return EMPTY
        key = (id(resources), id(failures))
        found = self._contents.get(key)
        if found is None:
            found = self._contents[key] = Contents(resources, failures)
        return found


def _halves(routes: Contents, found: Mapping[str, SplitRoute | None]) -> tuple[Contents, Contents]:
    split = {name: each for name, each in found.items() if each is not None}
    shells = {name: split[name].shell if name in split else whole for name, whole in routes.resources.items()}
    # Which virtual hosts there are is only known where everything was read; what left with its route is never removed.
    partial = Failures({WHOLE: "objects could not be read"}, partial=True) if routes.failures.partial else NO_FAILURES
    hosts = Contents(SplitHosts(split), partial, routes.resources)
    names = NO_NAMES
    for each in split.values():
        names = joined_names(names, each.names)
    hosts.names = names
    hosts.routes = {name: each.names for name, each in split.items()}
    hosts.referring = [each.whole for each in split.values()]
    return Contents(shells, routes.failures, routes.resources), hosts


def placeholder(type_: ResourceType, name: str, version: str) -> Resource:
    """A resource that a reconnecting proxy says it holds and that we know by name and version only.

    It is not equal to the real one of that version: what is retained of the two is treated differently.
    """
    return Resource(type_, name, f"held {version}", b"")
