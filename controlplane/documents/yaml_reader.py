"""YAML and JSON text to plain values, the way Kubernetes' own loader reads it.

Kubernetes turns YAML into JSON first, so a value here is only ever ``None``, ``bool``, ``int``, ``float``, ``str``,
``list`` or a ``dict`` with text keys. Plain scalars follow YAML 1.1 as that loader does: ``yes no on off y n`` are
booleans; timestamps and ``12:30`` stay text; a float without a fraction is an integer; ``2001:db8::`` is a text between
brackets too. A repeated key is a warning and the last one counts. Aliases may not multiply a document beyond
``MAX_COPIED``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import re2

from controlplane.documents.limits import (
    MAX_CHARACTERS,
    MAX_COPIED,
    MAX_DEPTH,
    MAX_SETTING,
    Document,
    Unreadable,
    UnreadableError,
    too_deep,
    too_long,
)
from controlplane.documents.scalars import key_text, plain, tagged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from yaml import Node, events
    from yaml._yaml import CParser


class _BadDocumentError(ValueError):
    """A document that YAML allows and we do not; never leaves this module."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


_COLON = "\ue000"
"""Stands for a colon that ends a plain text between brackets, which libyaml does not take: a private code point."""
_LAST_COLON = re2.compile(r"""([^\s,\[\]{}"']):([,\]}])""")


def _shielded(text: str) -> str:
    """Return the text with ``_COLON`` in the place of such colons, which is as long."""
    if _COLON in text or not (":]" in text or ":," in text or ":}" in text):
        return text
    return str(_LAST_COLON.sub(lambda found: f"{found[1]}{_COLON}{found[2]}", text))


_MARKER = "\n---"
_AFTER_MARKER = frozenset(("", " ", "\t", "\r", "\n"))


def chunks(text: str) -> list[tuple[int, str]]:
    """Cut YAML text at its ``---`` lines: (line from 1, text) of each piece that is not blank.

    YAML forbids such a line inside any value, so a piece can be read alone: a mistake in one does not touch the
    others. Text with directives stays whole, since they belong to the document after the marker.
    """
    if text.startswith("%") or "\n%" in text:
        return [(1, text)]
    starts = [0, *_markers(text)]
    line, at, pieces = 1, 0, []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        line += text.count("\n", at, start)
        at = start
        if (piece := text[start:end]).strip().strip("-"):
            pieces.append((line, piece))
    return pieces


def _markers(text: str) -> Iterator[int]:
    at = text.find(_MARKER)
    while at >= 0:
        end = at + len(_MARKER)
        if text[end : end + 1] in _AFTER_MARKER:
            yield at + 1
        at = text.find(_MARKER, end)


def yaml_documents(text: str) -> list[Document | Unreadable]:
    """Read every document of ``text``; a mistake ends the list, the documents before it are kept."""
    from yaml import YAMLError  # noqa: PLC0415 - costs start-up time where no YAML is read
    from yaml._yaml import CParser  # noqa: PLC0415
    from yaml.reader import ReaderError  # noqa: PLC0415

    if len(text) > MAX_CHARACTERS:
        return [Unreadable(1, too_long(MAX_CHARACTERS))]
    found: list[Document | Unreadable] = []
    try:
        shielded = _shielded(text)
        for document in _stream(CParser(shielded), is_shielded=shielded != text):
            found.append(document)  # noqa: PERF402 - extend would lose the documents before a mistake
    except _BadDocumentError as error:
        found.append(Unreadable(error.line, error.reason))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 1
        found.append(Unreadable(line, str(error.reason)))
    except UnicodeEncodeError:
        found.append(Unreadable(1, "holds half of a surrogate pair, which is no character"))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        found.append(Unreadable(mark.line + 1 if mark is not None else 1, str(reason)))
    return found


def yaml_value(text: str, *, limit: int = MAX_SETTING) -> Any:  # noqa: ANN401 - whatever somebody wrote
    """Read a text that is one document, as settings are; blank text is ``None``. Later documents are not looked at.

    Raises:
        UnreadableError: it is not YAML, is longer than ``limit``, nested too deep, or its aliases grow beyond reason.
    """
    if len(text) > limit:
        raise UnreadableError(too_long(limit))
    found = yaml_documents(text)
    if not found:
        return None
    if isinstance(found[0], Unreadable):
        raise UnreadableError(f"line {found[0].line}: {found[0].reason}")
    return found[0].value


def tree(text: str) -> Node | None:
    """Return the marks of a text whose values were read, for ``places.line_of``; ``None`` where it is not YAML."""
    import yaml  # noqa: PLC0415 - costs start-up time where nothing is wrong

    try:
        return yaml.compose(_shielded(text), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeEncodeError):  # JSON that is no YAML, or several documents after directives
        return None


_LIST_TAGS = frozenset({None, "!", "tag:yaml.org,2002:seq"})
_DICT_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map"})


def _line(event: events.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _tagged(event: events.ScalarEvent, text: str) -> Any:  # noqa: ANN401 - any scalar
    try:
        return tagged(text, event.tag or "!")
    except ValueError as error:
        raise _BadDocumentError(_line(event), str(error)) from None


def _key(value: object, event: events.Event) -> str:
    text = key_text(value)
    if text is None:
        raise _BadDocumentError(_line(event), "a mapping key must be text")
    return text


_UNIT = 40
_KEY, _ITEM, _MERGE = object(), object(), object()
"""What comes next where it is no value of a key: a key of a mapping, an item of a list, what ``<<`` stands for."""


class _Anchors:
    """The values of one document that aliases may stand for, each with how many values it holds.

    A long text counts as several, ``_UNIT`` characters each.
    """

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


def _stream(parser: CParser, *, is_shielded: bool) -> Iterator[Document]:
    """Yield each document; raises what the parser raises, and ``_BadDocumentError``."""
    from yaml import events  # noqa: PLC0415 - as above

    while (document := _document(parser.get_event, events, is_shielded=is_shielded)) is not None:
        yield document


def _document(  # noqa: C901 - see below
    next_event: Callable[[], Any], events: ModuleType, *, is_shielded: bool
) -> Document | None:
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
            value = event.value
            length = 1 + len(value) // _UNIT
            size += length
            if is_shielded:
                value = value.replace(_COLON, ":")
            is_plain, is_quoted = event.implicit
            if is_plain:
                if expected is _KEY and value == "<<":
                    expected = _MERGE
                    continue
                value = plain(value)
            elif not is_quoted:
                value = _tagged(event, value)
            if event.anchor is not None:
                anchors.name(event.anchor, value, length)
        elif kind in begins:
            made = begins[kind]
            if event.tag is not None and event.tag not in (_LIST_TAGS if made is list else _DICT_TAGS):
                raise _BadDocumentError(_line(event), f"tag {event.tag} is not allowed")
            if len(around) >= MAX_DEPTH:
                raise _BadDocumentError(_line(event), too_deep())
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
            expected = value if type(value) is str else _key(value, event)
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
