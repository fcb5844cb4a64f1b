"""YAML and JSON text to plain values, the way Kubernetes' own loader reads it.

Kubernetes turns YAML into JSON first, so a value here is only ever ``None``, ``bool``, ``int``, ``float``, ``str``,
``list`` or a ``dict`` with text keys. Plain scalars follow YAML 1.1 as that loader does: ``yes no on off`` are
booleans, ``y`` and ``n`` are not; timestamps and ``12:30`` stay text; a float without a fraction is an integer.
A repeated key is a warning and the last one counts. Aliases may not multiply a document beyond ``MAX_COPIED``.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from yaml import events
    from yaml._yaml import CParser

MAX_DEPTH = 100
"""Nesting beyond which a document is refused; no object of Kubernetes comes near."""
MAX_COPIED = 100_000
"""How many values the aliases of one document may add to it."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value, the line (from 1) where it begins, and what is odd about it."""

    value: Any
    line: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Text that is no document: the line (from 1) of the mistake, and what it is."""

    line: int
    reason: str


class _BadDocumentError(ValueError):
    """A document that YAML allows and we do not; never leaves this module."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


_MARKER = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)


def chunks(text: str) -> list[tuple[int, str]]:
    """Cut YAML text at its ``---`` lines: (line from 1, text) of each piece that is not blank.

    YAML forbids such a line inside any value, so a piece can be read alone: a mistake in one does not touch the
    others. Text with directives stays whole, since they belong to the document after the marker.
    """
    if _DIRECTIVE.search(text):
        return [(1, text)]
    starts = [match.start() for match in _MARKER.finditer(text)]
    if not starts or text[: starts[0]].strip():
        starts.insert(0, 0)
    line, at, pieces = 1, 0, []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        line += text.count("\n", at, start)
        at = start
        if (piece := text[start:end]).strip().strip("-"):
            pieces.append((line, piece))
    return pieces


def yaml_documents(text: str) -> list[Document | Unreadable]:
    """Read every document of ``text``; a mistake ends the list, the documents before it are kept."""
    from yaml import YAMLError  # noqa: PLC0415 - costs start-up time where no YAML is read
    from yaml._yaml import CParser  # noqa: PLC0415
    from yaml.reader import ReaderError  # noqa: PLC0415

    found: list[Document | Unreadable] = []
    try:
        for document in _stream(CParser(text)):
            found.append(document)  # noqa: PERF402 - extend would lose the documents before a mistake
    except _BadDocumentError as error:
        found.append(Unreadable(error.line, error.reason))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 1
        found.append(Unreadable(line, str(error.reason)))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        found.append(Unreadable(mark.line + 1 if mark is not None else 1, str(reason)))
    return found


def json_documents(text: str) -> list[Document | Unreadable]:
    """Read a JSON text, which is one document."""
    warnings: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(members)
        if len(value) < len(members):
            names = [name for name, _ in members]
            repeated = sorted({name for name in names if names.count(name) > 1})
            warnings.extend(f"key {name!r} is repeated; the last one is used" for name in repeated)
        return value

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return [Unreadable(error.lineno, error.msg)]
    except RecursionError:
        return [Unreadable(1, f"nested deeper than {MAX_DEPTH} levels")]
    except ValueError as error:  # NaN, or an integer of thousands of digits
        return [Unreadable(1, str(error))]
    return [Document(value, 1, tuple(warnings))]


def _no_constant(name: str) -> None:
    message = f"{name} is not a JSON value"
    raise ValueError(message)


Scalar = str | int | float | bool | None

_STR_TAG = "tag:yaml.org,2002:str"
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
_LIST_TAGS = frozenset({None, "!", "tag:yaml.org,2002:seq"})
_DICT_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map"})
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((word for w in ("true", "yes", "on") for word in (w, w.title(), w.upper())), True),
    **dict.fromkeys((word for w in ("false", "no", "off") for word in (w, w.title(), w.upper())), False),
}
_INTEGER = re.compile(
    r"[-+]?(?:(?P<decimal>0|[1-9][0-9_]*)|0[xX](?P<hex>[0-9a-fA-F_]+)|0b(?P<binary>[01_]+)|0o?(?P<octal>[0-7_]+))"
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAX_NUMBER_TEXT = 100
_MAX_EXACT = 2.0**53
_BASES = {"decimal": 10, "hex": 16, "binary": 2, "octal": 8}


def _plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar."""
    if not text or text[0] not in "-+.0123456789":
        return _WORDS.get(text, text)
    if len(text) > _MAX_NUMBER_TEXT:
        return text
    if match := _INTEGER.fullmatch(text):
        digits = match[match.lastgroup or 0].replace("_", "")
        if digits:
            number = int(digits, _BASES[match.lastgroup or "decimal"])
            return -number if text[0] == "-" else number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            return text
        return int(value) if value.is_integer() and abs(value) < _MAX_EXACT else value
    return text


def _tagged(event: events.ScalarEvent) -> Scalar:
    """Return the value of a scalar with a tag."""
    if event.tag in (_STR_TAG, "!"):
        return event.value
    if event.tag in _PLAIN_TAGS:
        return _plain(event.value)
    raise _BadDocumentError(_line(event), f"tag {event.tag} is not allowed")


def _key(value: object, line: int) -> str:
    """Return a mapping key as JSON has it: text."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            raise _BadDocumentError(line, "a mapping key must be text")


def _line(event: events.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


class _Missing:
    """The key of a mapping that waits for its next key."""


class _Merge:
    """The key ``<<``."""


@dataclass(slots=True)
class _Frame:
    """A container being filled."""

    value: Any
    anchor: str | None
    begun: int
    key: Any = _Missing
    merges: list[Any] | None = None


class _Builder:
    """Builds one document from parser events, without recursion."""

    def __init__(self) -> None:
        self.root: Any = None
        self.warnings: list[str] = []
        self.line = 0
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._size = 0
        self._copied = 0

    def steps(self, events: ModuleType) -> dict[type, Callable[[Any], None]]:
        """Return what to do with each type of ``yaml.events``; a table, since this runs for every word of a file."""
        return {
            events.ScalarEvent: self.scalar,
            events.MappingStartEvent: partial(self.begin, dict),
            events.SequenceStartEvent: partial(self.begin, list),
            events.MappingEndEvent: self.end,
            events.SequenceEndEvent: self.end,
            events.AliasEvent: self.alias,
        }

    def scalar(self, event: events.ScalarEvent) -> None:
        self._size += 1
        value: Scalar = event.value
        if event.implicit[0]:
            if (
                value == "<<"
                and self._stack
                and self._stack[-1].key is _Missing
                and type(self._stack[-1].value) is dict
            ):
                self._stack[-1].key = _Merge
                return
            value = _plain(event.value)
        elif not event.implicit[1]:
            value = _tagged(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._place(value, event)

    def begin(self, kind: type[list[Any] | dict[str, Any]], event: events.CollectionStartEvent) -> None:
        if event.tag not in (_LIST_TAGS if kind is list else _DICT_TAGS):
            raise _BadDocumentError(_line(event), f"tag {event.tag} is not allowed")
        if len(self._stack) >= MAX_DEPTH:
            raise _BadDocumentError(_line(event), f"nested deeper than {MAX_DEPTH} levels")
        if not self._stack:
            self.line = _line(event)
        self._stack.append(_Frame(kind(), event.anchor, self._size))
        self._size += 1
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)

    def end(self, event: events.Event) -> None:
        frame = self._stack.pop()
        for merged in frame.merges or ():
            for key, value in merged.items():
                frame.value.setdefault(key, value)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (frame.value, self._size - frame.begun)
        self._place(frame.value, event)

    def alias(self, event: events.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise _BadDocumentError(_line(event), f"alias {event.anchor!r} names no finished anchor")
        value, size = self._anchors[event.anchor]
        self._size += size
        self._copied += size
        if self._copied > MAX_COPIED:
            raise _BadDocumentError(_line(event), "aliases multiply the document beyond reason")
        self._place(value, event)

    def _place(self, value: object, event: events.Event) -> None:
        if not self._stack:
            self.root = value
            self.line = self.line or _line(event)
            return
        frame = self._stack[-1]
        if type(frame.value) is list:
            frame.value.append(value)
        elif frame.key is _Missing:
            frame.key = key = value if type(value) is str else _key(value, _line(event))
            if key in frame.value:
                line = _line(event)
                self.warnings.append(f"key {key!r} is repeated on line {line} of the document; the last one is used")
        elif frame.key is _Merge:
            frame.key = _Missing
            merges = value if type(value) is list else [value]
            if not all(type(merged) is dict for merged in merges):
                raise _BadDocumentError(_line(event), "only mappings can be merged with <<")
            frame.merges = [*(frame.merges or ()), *merges]
        else:
            frame.value[frame.key] = value
            frame.key = _Missing


def _stream(parser: CParser) -> Iterator[Document]:
    """Yield each document; raises what the parser raises, and ``_BadDocumentError``."""
    from yaml import events  # noqa: PLC0415 - as above

    builder = _Builder()
    steps = builder.steps(events)
    while (event := parser.get_event()) is not None:
        if (step := steps.get(type(event))) is not None:
            step(event)
        elif type(event) is events.DocumentEndEvent:
            yield Document(builder.root, builder.line, tuple(builder.warnings))
            builder = _Builder()
            steps = builder.steps(events)
