"""The bytes of one file to what it says: objects, refusals, warnings and kinds that are not used."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace

from controlplane.documents.json_reader import json_documents
from controlplane.documents.limits import Unreadable
from controlplane.documents.pieces import objects
from controlplane.documents.places import Steps
from controlplane.documents.yaml_reader import chunks, yaml_documents
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey, Rejected, Warned
from controlplane.model.parse import Parsed
from controlplane.watchers.kinds import Result, Unused, parse

NOWHERE = ObjectKey(kinds.NO_KIND, "", "")


@dataclass(frozen=True, slots=True)
class _Item:
    """One object of a piece of a file: ``offset`` counts lines from the piece's first, ``within`` names a list item."""

    offset: int
    within: str
    result: Result
    warnings: tuple[str, ...] = ()


_Piece = tuple[int, tuple[_Item, ...]]


@dataclass(slots=True)
class Reading:
    """What one file says.

    ``pieces`` remembers the documents by a hash of their text, so that a changed file is parsed only where it
    changed. ``unreadable`` are those that hold an object nobody can name: one that seems to be gone may be there.
    ``stand_ins`` are in force in the place of refused objects of which there is no good version.
    """

    objects: dict[ObjectKey, Object] = field(default_factory=dict)
    rejections: list[Rejected] = field(default_factory=list)
    stand_ins: dict[ObjectKey, Object] = field(default_factory=dict)
    warnings: list[Warned] = field(default_factory=list)
    unused: Counter[tuple[str, str]] = field(default_factory=Counter)
    unreadable: frozenset[bytes] = frozenset()
    pieces: dict[bytes, _Piece] = field(default_factory=dict)

    @classmethod
    def refused(cls, source: str, reason: str) -> Reading:
        """Return the reading of a file none of which can be used."""
        return cls(rejections=[Rejected(NOWHERE, (reason,), source)], unreadable=frozenset({reason.encode()}))

    def lost_in(self, after: Reading) -> bool:
        """Whether an object of this reading is in ``after`` neither good nor refused, nor hidden in unreadable text."""
        if after.unreadable:
            return False
        refused = {rejected.key for rejected in after.rejections}
        return any(key not in refused for key in self.objects.keys() - after.objects.keys())


def read(content: bytes, path: str, before: Reading | None = None) -> Reading:
    """Read a file's content; ``before`` is an earlier reading of it, ``path`` how sources name it."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Reading.refused(f"{path}:{line}", "is not UTF-8 text")
    reading, known = Reading(), before.pieces if before is not None else {}
    is_json = path.endswith(".json")
    unreadable: set[bytes] = set()
    for line, piece in [(1, text)] if is_json else chunks(text):
        digest = hashlib.blake2b(piece.encode(), digest_size=16).digest()
        kept = known.get(digest)
        items = _items(piece, path, line, is_json=is_json) if kept is None else _moved(kept, path, line)
        reading.pieces[digest] = (line, items)
        for item in items:
            _add(reading, item, f"{path}:{line + item.offset}{item.within}")
            if isinstance(item.result, Rejected) and not (item.result.key.kind.name and item.result.key.name):
                unreadable.add(digest)
    reading.unreadable = frozenset(unreadable)
    return reading


def _items(piece: str, path: str, line: int, *, is_json: bool) -> tuple[_Item, ...]:
    read_documents = json_documents if is_json else yaml_documents
    items: list[_Item] = []
    for document in read_documents(piece):
        offset = document.line - 1
        if isinstance(document, Unreadable):
            source = f"{path}:{line + offset}"
            items.append(_Item(offset, "", Rejected(NOWHERE, (f"not readable: {document.reason}",), source)))
        elif document.value is not None:
            for way, raw in objects(document.value):
                within = _within(way)
                result = parse(raw, f"{path}:{line + offset}{within}")
                items.append(_Item(offset, within, result, document.warnings))
    return tuple(items)


def _within(way: Steps) -> str:
    """Return the way to an object of lists as sources name it."""
    return "".join(f" items[{step}]" for step in way if step != "items")


def _moved(piece: _Piece, path: str, line: int) -> tuple[_Item, ...]:
    """Return the items of a piece that is now on another line of its file."""
    was, items = piece
    if was == line:
        return items
    return tuple(replace(item, result=_at(item.result, f"{path}:{line + item.offset}{item.within}")) for item in items)


def _at(result: Result, source: str) -> Result:
    match result:
        case Parsed(object=obj):
            return replace(result, object=replace(obj, meta=replace(obj.meta, source=source)))
        case Rejected(stand_in=instead):
            moved = replace(instead, meta=replace(instead.meta, source=source)) if instead is not None else None
            return replace(result, source=source, stand_in=moved)
        case Unused():
            return result


def _add(reading: Reading, item: _Item, source: str) -> None:
    """Enter one item; the first object of a key counts."""
    match item.result:
        case Parsed(object=obj, warnings=warnings):
            first = reading.objects.setdefault(obj.key, obj)
            if first is not obj:
                reading.rejections.append(conflict(obj.key, source, first))
                return
            reading.warnings += [Warned(obj.key, text) for text in (*item.warnings, *warnings)]
        case Rejected() as rejected:
            reading.rejections.append(rejected)
            if rejected.stand_in is not None:
                reading.stand_ins.setdefault(rejected.key, rejected.stand_in)
        case Unused(kind=kind, reason=reason):
            reading.unused[kind, reason] += 1


def conflict(key: ObjectKey, source: str, winner: Object) -> Rejected:
    """Return the refusal of an object that something read earlier defines already."""
    return Rejected(key, (f"metadata.name: already defined in {winner.meta.source}, which is used",), source)
