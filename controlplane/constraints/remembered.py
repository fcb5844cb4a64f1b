"""Contents of messages in which nothing is wrong, so that equal ones are checked once: of all types so many bytes."""

from __future__ import annotations

from typing import Final

MOST_BYTES: Final = 4 << 20
"""What all contents may take together. With more, all are forgotten, and those that are still met come again."""
MOST_BYTES_EACH: Final = 1024
"""A larger content is not remembered."""
MOST_TRIES: Final = 64
"""Where so many more contents were new than known, most are different, and nobody looks any more."""
_OVERHEAD_BYTES = 33 + 40  # of a bytes object, and of its place in a set


class Contents:
    """The contents of one type, ``held``; ``tries`` counts those that were not found, less those that were."""

    __slots__ = ("held", "tries")

    def __init__(self) -> None:
        """Begin with none."""
        self.held: set[bytes] = set()
        self.tries = 0

    def add(self, content: bytes) -> None:
        """Remember a content that is not held, unless it is large."""
        size = len(content)
        if size <= MOST_BYTES_EACH:
            _all.count(self, size + _OVERHEAD_BYTES)
            self.held.add(content)


class _All:
    """The contents of all types."""

    def __init__(self) -> None:
        self.bytes = 0
        self._types: list[Contents] = []

    def count(self, contents: Contents, size: int) -> None:
        """Make room."""
        if self.bytes + size > MOST_BYTES:
            self.forget()
        if not contents.held:
            self._types.append(contents)
        self.bytes += size

    def forget(self) -> None:
        """Begin anew."""
        for each in self._types:
            each.held.clear()
        self._types.clear()
        self.bytes = 0


_all = _All()


def remembered_bytes() -> int:
    """Return what all contents take now."""
    return _all.bytes


def forget() -> None:
    """Forget all contents."""
    _all.forget()
