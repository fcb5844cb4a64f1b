"""Files of manifests: cut into pieces that are read alone, with the objects in each and the lines of what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.documents.json_reader import json_documents
from controlplane.documents.limits import Document, Unreadable
from controlplane.documents.places import Lines, Steps, steps
from controlplane.documents.yaml_reader import chunks, yaml_documents


class Piece:
    """A piece of a file, and the lines of what is in it."""

    def __init__(self, file: str, first: int, text: str) -> None:
        """Take the text that begins on the line ``first`` (from 1) of a file."""
        self.file = file
        self.first = first
        self._lines = Lines(text)

    def line(self, way: Steps) -> int:
        """Return the line (from 1) in the file of what the way leads to."""
        return self.first + self._lines.line(way)


class Place:
    """Where an object was written: ``within`` is the way to it from its document, which begins on a line (from 1)."""

    def __init__(self, piece: Piece, line: int, within: Steps, obj: Any) -> None:  # noqa: ANN401 - unread YAML
        self._piece = piece
        self._begins = line
        self._within = within
        self._object = obj

    @property
    def file(self) -> str:
        """The name of the file."""
        return self._piece.file

    def line(self, path: str) -> int:
        """Return the line (from 1) of what a path leads to; of the nearest thing around it where it leads nowhere."""
        way = (*self._within, *steps(self._object, path)[0])
        return self._piece.line(way) if way else self._piece.first + self._begins - 1


def pieces(content: bytes, file: str, *, is_json: bool) -> Iterator[tuple[Document | Unreadable, Piece]]:
    """Read the documents of a file; the line of an ``Unreadable`` is that within its piece."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield Unreadable(line, "is not UTF-8 text"), Piece(file, 1, "")
        return
    read = json_documents if is_json else yaml_documents
    for first, part in [(1, text)] if is_json else chunks(text):
        piece = Piece(file, first, part)
        for document in read(part):
            yield document, piece


def objects(value: Any) -> Iterator[tuple[Steps, Any]]:  # noqa: ANN401 - unread YAML
    """The objects of a document: itself, or those of a ``List`` (also of a list of lists), each with the way to it.

    A document of routing tests, which may stand beside manifests, has none.
    """
    if is_routing_tests(value):
        return
    waiting: list[tuple[Steps, Any]] = [((), value)]
    while waiting:
        way, raw = waiting.pop()
        kind = raw.get("kind") if isinstance(raw, dict) else None
        items = raw.get("items") if isinstance(raw, dict) else None
        if isinstance(kind, str) and kind.endswith("List") and (items is None or isinstance(items, list)):
            waiting += reversed([((*way, "items", at), item) for at, item in enumerate(items or ())])
        else:
            yield way, raw


def is_routing_tests(value: Any) -> bool:  # noqa: ANN401 - unread YAML
    """Whether a document holds routing tests (``controlplane test``): its content tells, not the file's name."""
    if not isinstance(value, dict) or not isinstance(value.get("tests"), list):
        return False
    return not value.keys() & {"apiVersion", "kind", "metadata"}
