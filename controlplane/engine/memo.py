"""Remembered queries: the half of the incremental engine that computes, and forgets.

After a change, the queries that (transitively) read a changed fact are marked stale; when one is needed again, its
reads that may be others are brought up to date in the order they were made, and it runs only if one of them really has
another value: what did not change costs nothing, however much of it there is. So an equal result ends there ("early
cut-off"), and a stale query nobody asks for costs nothing.

A failure is a value too. What is remembered of it keeps no frame alive, however often it is raised again.
"""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import structlog

from controlplane.engine.recording import K, Node, Outcome, Query, Recorder, UnbuiltError, V, facts

log = structlog.get_logger(__name__)

_LONGEST_REASON = 1000  # characters


class QueryCycleError(RuntimeError):
    """A query that, through others, reads itself: our bug, and a failure of all queries of the circle."""


class QueryError(Exception):
    """What ``Memo.get`` raises for a query that failed; the cause is the query's own error."""


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
        self.compared = 0
        """How many dependencies were looked at to find out whether something has to run: likewise."""
        self.noted: dict[Node, None] = {}
        """The nodes that have notes, in no order."""
        self.on_notes: Callable[[Node, tuple[Hashable, ...]], None] = _nobody
        """Called with a node whose notes are others now, and those it had before."""

    def __len__(self) -> int:
        """Count all that is remembered: values and facts."""
        return len(self._leaves) + sum(map(len, self._nodes.values()))

    def leaf(self, fact: Hashable) -> Node:
        """Return the node of a registry fact."""
        node = self._leaves.get(fact)
        if node is None:
            node = self._leaves[fact] = Node(None, fact)
        return node

    def node(self, query: Query[K, V], key: K) -> Node:
        """Return the query's node, whose value may be out of date or never have been computed."""
        nodes = self._nodes[query]
        node = nodes.get(key)
        if node is None:
            node = nodes[key] = Node(query, key)
        return node

    def refresh(self, node: Node) -> None:
        """Bring a node up to date.

        Raises:
            QueryCycleError: it is being computed, so it would read itself.
        """
        if node.running:
            message = f"query cycle at {node.query!r} {node.key!r}"
            raise QueryCycleError(message)
        if node.stale:
            self._refresh(node)

    def get(self, query: Query[K, V], key: K) -> V:
        """Read from outside any query.

        Raises:
            QueryError: the query failed; the cause is what it raised.
        """
        node = self._asked(query, key)
        if not node.built or node.error is not None:
            message = f"{query!r} {key!r}: {node.failure}"
            raise QueryError(message) from node.error and node.error.with_traceback(None)
        value: V = node.value
        return value

    def outcome(self, query: Query[K, V], key: K) -> Outcome:
        """Read from outside any query, a failure as a value."""
        node = self._asked(query, key)
        return Outcome(node.value, node.failure, node.built)

    def _asked(self, query: Query[K, V], key: K) -> Node:
        node = self.node(query, key)
        self.refresh(node)
        if not node.readers and node not in self._kept:
            self._unread.add(node)
        return node

    def is_stale(self, query: Query[K, Any], key: K) -> bool:
        """Return whether the value may be another now, or is not known; false costs nothing to find out."""
        node = self._nodes[query].get(key)
        return node is None or node.stale

    def keep(self, query: Query[K, V], key: K) -> None:
        """Hold on to this value although no query reads it, until ``release``; it is computed when it is asked for."""
        self._kept.add(self.node(query, key))

    def release(self, query: Query[K, V], key: K) -> None:
        """Undo ``keep``; the value is forgotten at the next ``collect`` unless something reads it."""
        node = self._nodes[query].get(key)
        if node is not None:
            self._kept.discard(node)
            self._unread.add(node)

    def invalidate(self, facts: Iterable[Hashable]) -> list[tuple[Query[Any, Any], Any]]:
        """Mark everything that read one of these facts, however indirectly; return the stale ``(query, key)`` pairs."""
        self.revision += 1
        unvisited = []
        for fact in facts:
            leaf = self._leaves.get(fact)
            if leaf is not None:
                leaf.changed_at = self.revision
                unvisited.append(leaf)
        stale: list[tuple[Query[Any, Any], Any]] = []
        while unvisited:
            node = unvisited.pop()
            for reader in node.readers:
                if reader.suspects is None:
                    reader.suspects = {node}
                else:
                    reader.suspects.add(node)
                if not reader.stale:
                    reader.stale = True
                    unvisited.append(reader)
                    stale.append((reader.query, reader.key))  # type: ignore[arg-type]  # readers are never facts
        return stale

    def facts(self, query: Query[K, V], key: K) -> Iterator[Hashable]:
        """Yield every registry fact this value was made from: its provenance."""
        node = self._nodes[query].get(key)
        if node is not None:
            yield from facts(node.reads)

    def keys(self, query: Query[K, V]) -> tuple[K, ...]:
        """Return the keys for which something of this query is remembered, out of date or not."""
        return tuple(self._nodes[query])  # type: ignore[arg-type]  # the keys of a query's nodes are its own

    def collect(self, most: int | None = None) -> bool:
        """Forget values that nothing reads any more, at most so many at a time; return whether that were all."""
        left = most
        while self._unread:
            if left is not None:
                if left <= 0:
                    return False
                left -= 1
            node = self._unread.pop()
            if node.readers or node in self._kept:
                continue
            if node.query is None:
                if self._leaves.get(node.key) is node:
                    del self._leaves[node.key]
                continue
            if self._nodes[node.query].get(node.key) is not node:
                continue
            del self._nodes[node.query][node.key]
            self._note(node, ())
            for read in node.reads:
                read.drop_reader(node)
                if not read.readers:
                    self._unread.add(read)
            node.reads = ()
        return True

    def forget(self) -> None:
        """Forget every value, so that all is computed anew; what is kept stays kept."""
        kept = [(node.query, node.key) for node in self._kept]
        for node in tuple(self.noted):
            self._note(node, ())
        self._nodes.clear()
        self._leaves.clear()
        self._unread.clear()
        self._kept = {self.node(query, key) for query, key in kept if query is not None}

    def _refresh(self, node: Node) -> None:
        computed_at = node.computed_at
        if not computed_at:
            self._run(node)
            return
        node.running = True  # whoever asks for it meanwhile is on a way that leads back to it
        changed, compared = False, 0
        try:
            for compared, read in enumerate(_in_order(node), 1):  # noqa: B007 - it counts them
                if self._changed_since(read, computed_at):
                    changed = True
                    break
        finally:
            node.running = False
            self.compared += compared
        if changed:
            self._run(node)
        else:
            node.stale, node.suspects = False, None

    def _changed_since(self, read: Node, computed_at: int) -> bool:
        if read.stale:
            if read.running:
                return True  # a circle: running again finds out
            self._refresh(read)
        return read.changed_at > computed_at

    def _run(self, node: Node) -> None:
        query = node.query
        if query is None:
            raise TypeError(node)
        view = self._new_view(self)
        node.running = True
        value, error = None, None
        try:
            value = query.build(view, node.key)
        except Exception as raised:  # noqa: BLE001 - our bug: kept as a value, or logged at the isolated boundary
            error = raised
        finally:
            node.running = False
        self.runs[query.name] = self.runs.get(query.name, 0) + 1
        self._relink(node, view.reads)
        first = node.computed_at == 0
        node.computed_at = self.revision
        node.stale, node.suspects = False, None
        if error is not None:
            changed = first or not query.isolated
            value = self._failed(node, query, error, view.reads)
        else:
            changed = not node.built or node.error is not None or node.value != value
            node.error, node.failure, node.built = None, "", True
            self._note(node, tuple(view.notes))
        if changed:
            node.value, node.changed_at = value, self.revision

    def _failed(self, node: Node, query: Query[Any, Any], error: Exception, reads: Iterable[Node]) -> Any:  # noqa: ANN401 - a V
        """Note a failure, and return the value that stands in for the one that could not be computed."""
        reason = str(error) if isinstance(error, UnbuiltError) else f"{type(error).__name__}: {error}"
        node.failure = reason[:_LONGEST_REASON]
        if query.isolated:
            log.error("compiler.build_failed", query=query.name, key=str(node.key), exc_info=error)
            error.__traceback__ = None
            return node.value
        if all(read.error is not error for read in reads):  # the first to see it
            error.add_note("It was raised here:\n" + "".join(traceback.format_exception(error)))
        _without_frames(error)
        node.error = error
        return None

    def _note(self, node: Node, notes: tuple[Hashable, ...]) -> None:
        before = node.notes
        if notes == before:
            return
        node.notes = notes
        if notes:
            self.noted[node] = None
        else:
            self.noted.pop(node, None)
        self.on_notes(node, before)

    def _relink(self, node: Node, reads: dict[Node, None]) -> None:
        for read in node.reads:
            if read not in reads:
                read.drop_reader(node)
                if not read.readers:
                    self._unread.add(read)
        for read in reads:
            read.add_reader(node)
        node.reads = tuple(reads)


def _in_order(node: Node) -> Iterable[Node]:
    """Return those reads of a node that may have changed, in the order in which they were made.

    What was read later may make no sense any more once something before it is another.
    """
    suspects = node.suspects or ()
    return suspects if len(suspects) < 2 else [read for read in node.reads if read in suspects]  # noqa: PLR2004


def _nobody(_node: Node, _before: tuple[Hashable, ...]) -> None:
    """Nobody listens."""


def _without_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and of those before it: a frame keeps all that called it, and what they hold."""
    chained: BaseException | None = error
    seen: set[int] = set()
    while chained is not None and id(chained) not in seen:
        seen.add(id(chained))
        chained.__traceback__ = None
        chained = chained.__cause__ or chained.__context__
