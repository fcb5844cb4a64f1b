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


_KEY, _ITEM, _MERGE = object(), object(), object()
"""What comes next where it is no value of a key: a key of a mapping, an item of a list, what ``<<`` stands for."""


class _Anchors:
    """The values of one document that aliases may stand for, each with how many values it holds."""

    def __init__(self) -> None:
        self._named: dict[str, tuple[Any, int]] = {}
        self._copied = 0

    def name(self, anchor: str, value: object, size: int) -> None:
        self._named[anchor] = (value, size)

    def forget(self, anchor: str) -> None:
        """Take back a name that is given to something that is not complete yet."""
        self._named.pop(anchor, None)

    def copy(self, event: events.AliasEvent) -> tuple[Any, int]:
        if event.anchor not in self._named:
            raise _BadDocumentError(_line(event), f"alias {event.anchor!r} names no finished anchor")
        value, size = self._named[event.anchor]
        self._copied += size
        if self._copied > MAX_COPIED:
            raise _BadDocumentError(_line(event), "aliases multiply the document beyond reason")
        return value, size


def _stream(parser: CParser) -> Iterator[Document]:
    """Yield each document; raises what the parser raises, and ``_BadDocumentError``."""
    from yaml import events  # noqa: PLC0415 - as above

    while (document := _document(parser.get_event, events)) is not None:
        yield document


def _document(next_event: Callable[[], Any], events: ModuleType) -> Document | None:  # noqa: C901 - see below
    """Build the next document from parser events; ``None`` at the end of the text.

    One loop without recursion or calls for what is usual, since it runs for every word of every file that changes.
    """
    begins, scalar = {events.MappingStartEvent: dict, events.SequenceStartEvent: list}, events.ScalarEvent
    ends = {events.MappingEndEvent, events.SequenceEndEvent}
    anchors, warnings = _Anchors(), list[str]()
    root: Any = None
    line = size = 0  # line of the root; values so far, those that aliases added too
    container: Any = None  # what is being filled, and what comes next in it
    expected: Any = None
    around: list[tuple[Any, Any]] = []  # the same of the containers that it is in
    anchored: dict[int, tuple[str, int]] = {}  # by depth: the anchor of a container, and the size when it began
    merges: dict[int, list[dict[str, Any]]] = {}  # by depth: what is merged into a mapping
    while (event := next_event()) is not None:
        kind = type(event)
        value: Any
        if kind is scalar:
            size += 1
            value = event.value
            plain, quoted = event.implicit
            if plain:
                if expected is _KEY and value == "<<":
                    expected = _MERGE
                    continue
                value = _plain(value)
            elif not quoted:
                value = _tagged(event)
            if event.anchor is not None:
                anchors.name(event.anchor, value, 1)
        elif kind in begins:
            made = begins[kind]
            if event.tag is not None and event.tag not in (_LIST_TAGS if made is list else _DICT_TAGS):
                raise _BadDocumentError(_line(event), f"tag {event.tag} is not allowed")
            if len(around) >= MAX_DEPTH:
                raise _BadDocumentError(_line(event), f"nested deeper than {MAX_DEPTH} levels")
            line = line or _line(event)
            around.append((container, expected))
            container, expected = made(), _ITEM if made is list else _KEY
            if event.anchor is not None:
                anchored[len(around)] = (event.anchor, size)
                anchors.forget(event.anchor)
            size += 1
            continue
        elif kind in ends:
            for merged in merges.pop(len(around), ()):
                for key in merged:
                    container.setdefault(key, merged[key])
            if anchored and (named := anchored.pop(len(around), None)) is not None:
                anchors.name(named[0], container, size - named[1])
            value = container
            container, expected = around.pop()
        elif kind is events.AliasEvent:
            value, copied = anchors.copy(event)
            size += copied
        elif kind is events.DocumentEndEvent:
            return Document(root, line, tuple(warnings))
        else:
            continue
        if expected is _ITEM:
            container.append(value)
        elif expected is _KEY:
            expected = value if type(value) is str else _key(value, _line(event))
            if expected in container:
                at = _line(event)
                warnings.append(f"key {expected!r} is repeated on line {at} of the document; the last one is used")
        elif container is None:
            root, line = value, line or _line(event)
        elif expected is _MERGE:
            merges.setdefault(len(around), []).extend(_merged(value, _line(event)))
            expected = _KEY
        else:
            container[expected] = value
            expected = _KEY
    return None


def _merged(value: object, line: int) -> list[dict[str, Any]]:
    """Return the mappings that ``<<`` names."""
    found: list[Any] = value if type(value) is list else [value]
    if not all(type(merged) is dict for merged in found):
        raise _BadDocumentError(line, "only mappings can be merged with <<")
    return found
