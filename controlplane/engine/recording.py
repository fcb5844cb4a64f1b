"""Queries, and what each of them read: the recording half of the incremental engine.

A *query* is a pure function ``(view, key) -> value``. Every read it makes - of a registry fact, an index, or
another query - goes through the view and is recorded, an absent answer too. ``memo`` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from controlplane.engine.memo import Memo

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class UnbuiltError(Exception):
    """What reading an isolated query raises that failed and never succeeded: what it stands for is not known.

    That is something else than that there is nothing. Who can do without it asks for its ``outcome``.
    """


class Outcome(NamedTuple):
    """What became of a query.

    ``failure`` says why the last run failed, empty if it did not. ``built`` is false where no run ever succeeded:
    ``value`` then means nothing. With a failure and ``built``, ``value`` is the last good one.
    """

    value: Any
    failure: str
    built: bool


class Query(Generic[K, V]):
    """A pure function of ``(view, key)``; calling it reads the remembered value and records the read.

    An ``isolated`` query is a fault boundary: when it fails (our bug) the last good value stays and the rest goes on;
    where there is none, reading it is an ``UnbuiltError``. Other queries hand the failure to whoever reads them.
    """

    __slots__ = ("build", "isolated", "name")

    def __init__(self, build: Callable[[Any, K], V], *, isolated: bool = False) -> None:
        self.build = build
        self.name = build.__name__
        self.isolated = isolated

    def __call__(self, view: Recorder, key: K) -> V:
        """Return the value for the key, computing it if need be, and record that it was read."""
        return view.read(self, key)

    def outcome(self, view: Recorder, key: K) -> Outcome:
        """Return the value and whether it could be computed, and record that it was read."""
        return view.outcome(self, key)

    def __repr__(self) -> str:
        return f"<query {self.name}>"


def query(build: Callable[[Any, K], V]) -> Query[K, V]:
    """Make a query of a function ``(view, key)``."""
    return Query(build)


def isolated(build: Callable[[Any, K], V]) -> Query[K, V]:
    """Make an isolated query: what one object means, so that a failure stays with that object."""
    return Query(build, isolated=True)


_FEW_READERS = 4
"""Most nodes have one or two; a set takes 216 bytes from the first one on."""


class Node:
    """One remembered value, or (``query is None``) one fact of the registry.

    ``suspects`` are those of its reads that may have another value since it was computed; ``None`` for none.
    """

    __slots__ = (
        "built", "changed_at", "computed_at", "error", "failure", "key", "notes", "query", "readers", "reads",
        "running", "stale", "suspects", "value",
    )  # fmt: skip

    def __init__(self, query: Query[Any, Any] | None, key: Hashable) -> None:
        self.query = query
        self.key = key
        self.value: Any = None
        self.error: Exception | None = None  # raised to readers
        self.failure = ""  # why the last run failed; an isolated query raises nothing
        self.built = False  # some run succeeded
        self.notes: tuple[Hashable, ...] = ()  # what the last good run wanted to be known
        self.reads: tuple[Node, ...] = ()
        self.readers: tuple[Node, ...] | set[Node] = ()  # a set where there are many
        self.suspects: set[Node] | None = None
        self.changed_at = 0
        self.computed_at = 0
        self.stale = query is not None
        self.running = False

    def add_reader(self, reader: Node) -> None:
        """Note that a node read this one, which it may have done before."""
        readers = self.readers
        if isinstance(readers, set):
            readers.add(reader)
        elif reader not in readers:
            self.readers = (*readers, reader) if len(readers) < _FEW_READERS else {*readers, reader}

    def drop_reader(self, reader: Node) -> None:
        """Note that a node reads this one no more."""
        readers = self.readers
        if isinstance(readers, set):
            readers.discard(reader)
        else:
            self.readers = tuple([held for held in readers if held is not reader])


class Recorder:
    """Reads on behalf of one node; ``View`` adds the registry's vocabulary."""

    __slots__ = ("_memo", "notes", "reads")

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self.reads: dict[Node, None] = {}
        self.notes: list[Hashable] = []

    def facts(self) -> Iterator[Hashable]:
        """Yield every registry fact that was read so far, however indirectly."""
        yield from facts(self.reads)

    def note(self, note: Hashable) -> None:
        """Say something beside the value, for whoever listens to the memo; it is forgotten with the value."""
        self.notes.append(note)

    def read(self, query: Query[K, V], key: K) -> V:
        """Return another query's value and record the read; its failure is raised here too."""
        node = self._node(query, key)
        if node.error is not None:
            raise node.error.with_traceback(None)
        if not node.built:
            raise UnbuiltError(node.failure)
        value: V = node.value
        return value

    def outcome(self, query: Query[K, V], key: K) -> Outcome:
        """Return another query's value, a failure as a value too, and record the read."""
        node = self._node(query, key)
        return Outcome(node.value, node.failure, node.built)

    def _node(self, query: Query[K, V], key: K) -> Node:
        node = self._memo.node(query, key)
        self.reads[node] = None  # before anything may fail: a failure too lasts only while what was read is the same
        self._memo.refresh(node)
        return node

    def record(self, fact: Hashable) -> None:
        """Record that a fact of the registry was looked at, whether or not it was there."""
        self.reads[self._memo.leaf(fact)] = None


def facts(reads: Iterable[Node]) -> Iterator[Hashable]:
    """Yield the registry facts among these nodes and all that they read."""
    seen = set(reads)
    unvisited = list(seen)
    while unvisited:
        node = unvisited.pop()
        if node.query is None:
            yield node.key
        for read in node.reads:
            if read not in seen:
                seen.add(read)
                unvisited.append(read)
