"""Memoised queries with recorded reads: the incremental engine.

A *query* is a pure function ``(view, key) -> value``. Every read it makes - of a registry fact, an index, or
another query - goes through the view and is recorded, an absent answer too. After a change, the queries that
(transitively) read a changed fact are marked stale; when one is needed again, its reads are brought up to date
in the order they were made, and it runs only if one of them really has another value. So an equal result stops
the wave ("early cut-off"), and a stale query nobody asks for costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Query(Generic[K, V]):
    """A pure function of ``(view, key)``; calling it reads the remembered value and records the read.

    An ``isolated`` query is a fault boundary: when it fails (our bug) the last good value stays, or ``fallback``
    where there is none, and the rest goes on. Other queries hand the failure to whoever reads them.
    """

    __slots__ = ("build", "fallback", "isolated", "name")

    def __init__(self, build: Callable[[Any, K], V], *, isolated: bool = False, fallback: Any = None) -> None:  # noqa: ANN401 - a V
        self.build = build
        self.name = build.__name__
        self.isolated = isolated
        self.fallback = fallback

    def __call__(self, view: Recorder, key: K) -> V:
        """Return the value for the key, computing it if need be, and record that it was read."""
        return view.read(self, key)

    def __repr__(self) -> str:
        return f"<query {self.name}>"


def query(build: Callable[[Any, K], V]) -> Query[K, V]:
    """Make a query of a function ``(view, key)``."""
    return Query(build)


def isolated(fallback: Any) -> Callable[[Callable[[Any, K], V]], Query[K, V]]:  # noqa: ANN401 - a V
    """Make an isolated query: what one object means, so that a failure stays with that object."""

    def decorated(build: Callable[[Any, K], V]) -> Query[K, V]:
        return Query(build, isolated=True, fallback=fallback)

    return decorated


class Node:
    """One remembered value, or (``query is None``) one fact of the registry."""

    __slots__ = ("changed_at", "computed_at", "error", "key", "query", "readers", "reads", "running", "stale", "value")

    def __init__(self, query: Query[Any, Any] | None, key: Hashable) -> None:
        self.query = query
        self.key = key
        self.value: Any = None
        self.error: Exception | None = None
        self.reads: tuple[Node, ...] = ()
        self.readers: set[Node] = set()
        self.changed_at = 0
        self.computed_at = 0
        self.stale = query is not None
        self.running = False


class Recorder:
    """Reads on behalf of one node; ``View`` adds the registry's vocabulary."""

    __slots__ = ("_memo", "reads")

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self.reads: dict[Node, None] = {}

    def read(self, query: Query[K, V], key: K) -> V:
        """Return another query's value and record the read; its failure is raised here too."""
        node = self._memo.fresh(query, key)
        self.reads[node] = None
        if node.error is not None:
            raise node.error
        value: V = node.value
        return value

    def record(self, fact: Hashable) -> None:
        """Record that a fact of the registry was looked at, whether or not it was there."""
        self.reads[self._memo.leaf(fact)] = None


class Memo:
    """All remembered queries of one registry."""

    def __init__(self, new_view: Callable[[Memo], Recorder]) -> None:
        self._new_view = new_view
        self._nodes: defaultdict[Query[Any, Any], dict[Hashable, Node]] = defaultdict(dict)
        self._leaves: dict[Hashable, Node] = {}
        self._kept: set[Node] = set()
        self._unread: set[Node] = set()
        self.revision = 1
        self.runs: dict[str, int] = {}
        """How often each query ran, by name: what a change cost, countable."""

    def leaf(self, fact: Hashable) -> Node:
        """Return the node of a registry fact."""
        node = self._leaves.get(fact)
        if node is None:
            node = self._leaves[fact] = Node(None, fact)
        return node

    def fresh(self, query: Query[K, V], key: K) -> Node:
        """Return the query's node with an up-to-date value or error."""
        nodes = self._nodes[query]
        node = nodes.get(key)
        if node is None:
            node = nodes[key] = Node(query, key)
            self._run(node)
        elif node.stale:
            self._refresh(node)
        return node

    def get(self, query: Query[K, V], key: K) -> V:
        """Read from outside any query; raises what the query raised."""
        node = self.fresh(query, key)
        if not node.readers and node not in self._kept:
            self._unread.add(node)
        if node.error is not None:
            raise node.error
        value: V = node.value
        return value

    def keep(self, query: Query[K, V], key: K) -> None:
        """Hold on to this value although no query reads it, until ``release``."""
        self._kept.add(self.fresh(query, key))

    def release(self, query: Query[K, V], key: K) -> None:
        """Undo ``keep``; the value is forgotten at the next ``collect`` unless something reads it."""
        node = self._nodes[query].get(key)
        if node is not None:
            self._kept.discard(node)
            self._unread.add(node)

    def invalidate(self, facts: Iterable[Hashable]) -> list[tuple[Query[Any, Any], Any]]:
        """Mark everything that read one of these facts, however indirectly; return the stale ``(query, key)`` pairs."""
        self.revision += 1
        wave = []
        for fact in facts:
            leaf = self._leaves.get(fact)
            if leaf is not None:
                leaf.changed_at = self.revision
                wave.append(leaf)
        stale: list[tuple[Query[Any, Any], Any]] = []
        while wave:
            node = wave.pop()
            for reader in node.readers:
                if not reader.stale:
                    reader.stale = True
                    wave.append(reader)
                    stale.append((reader.query, reader.key))  # type: ignore[arg-type]  # readers are never facts
        return stale

    def facts(self, query: Query[K, V], key: K) -> Iterator[Hashable]:
        """Yield every registry fact this value was made from: its provenance."""
        node = self._nodes[query].get(key)
        seen: set[Node] = set()
        wave = [node] if node is not None else []
        while wave:
            node = wave.pop()
            for read in node.reads:
                if read not in seen:
                    seen.add(read)
                    if read.query is None:
                        yield read.key
                    else:
                        wave.append(read)

    def collect(self) -> int:
        """Forget values that nothing reads any more; return how many."""
        dropped = 0
        while self._unread:
            node = self._unread.pop()
            if node.readers or node in self._kept:
                continue
            if node.query is None:
                self._leaves.pop(node.key, None)
                continue
            if self._nodes[node.query].pop(node.key, None) is None:
                continue
            dropped += 1
            for read in node.reads:
                read.readers.discard(node)
                if not read.readers:
                    self._unread.add(read)
            node.reads = ()
        return dropped

    def _refresh(self, node: Node) -> None:
        computed_at = node.computed_at
        for read in node.reads:
            if read.stale:
                self._refresh(read)
            if read.changed_at > computed_at:
                self._run(node)
                return
        node.stale = False

    def _run(self, node: Node) -> None:
        query = node.query
        if query is None or node.running:
            message = f"query cycle at {node.query!r} {node.key!r}"
            raise RuntimeError(message)
        view = self._new_view(self)
        node.running = True
        error: Exception | None = None
        try:
            value = query.build(view, node.key)
        except Exception as raised:  # noqa: BLE001 - our bug: kept as a value, or logged at the isolated boundary
            value, error = None, raised
        finally:
            node.running = False
        self.runs[query.name] = self.runs.get(query.name, 0) + 1
        self._relink(node, view.reads)
        first = node.computed_at == 0
        node.computed_at = self.revision
        node.stale = False
        if error is not None and query.isolated:
            log.error("compiler.build_failed", query=query.name, key=str(node.key), exc_info=error)
            error, value = None, query.fallback if first else node.value
        if first or error is not None or node.error is not None or node.value != value:
            node.value, node.error, node.changed_at = value, error, self.revision

    def _relink(self, node: Node, reads: dict[Node, None]) -> None:
        for read in node.reads:
            if read not in reads:
                read.readers.discard(node)
                if not read.readers:
                    self._unread.add(read)
        for read in reads:
            read.readers.add(node)
        node.reads = tuple(reads)
