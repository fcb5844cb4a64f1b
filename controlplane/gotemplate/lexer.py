"""Text of a template to pieces: text between actions, and the words of each action."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

import re2

from controlplane.gotemplate.errors import TemplateError

_SPACE = " \t\r\n"
_LEFT, _RIGHT = "{{", "}}"
_WORD = re2.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`)"
    r"|(?P<char>'(?:[^'\\\n]|\\.)+')"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?))"
    r"|(?P<field>\.[\pL_][\pL\pN_]*)"
    r"|(?P<variable>\$[\pL\pN_]*)"
    r"|(?P<name>[\pL_][\pL\pN_]*)"
    r"|(?P<sign>:=|=|\||\(|\)|,|\.)"
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LENGTHS = {"x": 2, "u": 4, "U": 8}


class Kind(Enum):
    """What a word is."""

    STRING = auto()
    NUMBER = auto()
    FIELD = auto()
    VARIABLE = auto()
    NAME = auto()
    SIGN = auto()
    SPACE = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an action: ``value`` is what it stands for, ``start`` and ``end`` where it is in the whole text."""

    kind: Kind
    value: str | int | float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Text, or with ``words`` an action."""

    text: str
    words: tuple[Word, ...] | None
    start: int


def place(text: str, at: int) -> tuple[int, int]:
    """Return the line, from 1, and the column, from 0, of a position."""
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1)


def pieces(name: str, text: str) -> Iterator[Piece]:
    """Cut a template; spaces that an action trims are gone.

    Raises:
        TemplateError: an action does not end, or holds what is no word.
    """
    at, trims = 0, False
    while True:
        begin = text.find(_LEFT, at)
        literal = text[at:] if begin < 0 else text[at:begin]
        if trims:
            literal = literal.lstrip(_SPACE)
        inside = begin + len(_LEFT)
        trims_left = begin >= 0 and text[inside : inside + 1] == "-" and text[inside + 1 : inside + 2] in tuple(_SPACE)
        if trims_left:
            literal = literal.rstrip(_SPACE)
            inside += 2
        if literal:
            yield Piece(literal, None, at)
        if begin < 0:
            return
        if text.startswith("/*", inside):
            at, trims = _comment_end(name, text, inside)
            continue
        words, at, trims = _action(name, text, inside)
        yield Piece("", words, begin)


def _comment_end(name: str, text: str, inside: int) -> tuple[int, bool]:
    closed = text.find("*/", inside)
    rest = text[closed + 2 :] if closed >= 0 else ""
    trims = bool(rest) and rest[0] in _SPACE and rest.lstrip(_SPACE).startswith("-" + _RIGHT)
    rest_at = len(text) - len(rest) + (rest.find("-") + 1 if trims else 0)
    if closed < 0 or not text.startswith(_RIGHT, rest_at):
        raise failure(name, text, inside, "unclosed comment")
    return rest_at + len(_RIGHT), trims


def _action(name: str, text: str, inside: int) -> tuple[tuple[Word, ...], int, bool]:
    """Read the words of an action; return them, where the text after it begins, and whether spaces there go."""
    words: list[Word] = []
    at = inside
    while True:
        if text.startswith(_RIGHT, at):
            words.append(Word(Kind.END, "", at, at))
            return tuple(words), at + len(_RIGHT), False
        if text.startswith("-" + _RIGHT, at) and (at == inside or text[at - 1] in _SPACE):
            words.append(Word(Kind.END, "", at, at))
            return tuple(words), at + len(_RIGHT) + 1, True
        found = _WORD.match(text, at)
        if found is None:
            reason = "unclosed action" if at >= len(text) else f"unexpected {text[at]!r} in an action"
            raise failure(name, text, at, reason)
        words.append(_word(name, text, found.lastgroup, found[0], at))
        at += len(found[0])


def _word(name: str, text: str, group: str, found: str, at: int) -> Word:
    end = at + len(found)
    match group:
        case "string":
            return Word(Kind.STRING, found[1:-1] if found[0] == "`" else _unquoted(name, text, found, at), at, end)
        case "char":
            value = _unquoted(name, text, found, at)
            if len(value) != 1:
                raise failure(name, text, at, f"{found} is not one character")
            return Word(Kind.NUMBER, ord(value), at, end)
        case "number":
            return Word(Kind.NUMBER, _number(name, text, found, at), at, end)
        case "field":
            return Word(Kind.FIELD, found[1:], at, end)
        case "variable":
            return Word(Kind.VARIABLE, found, at, end)
        case "name":
            return Word(Kind.NAME, found, at, end)
        case "space":
            return Word(Kind.SPACE, found, at, end)
        case _:
            return Word(Kind.SIGN, found, at, end)


def _number(name: str, text: str, found: str, at: int) -> int | float:
    plain = found.replace("_", "")
    try:
        return int(plain, 0) if plain.lstrip("+-")[:1] != "0" or plain[1:2].isalpha() else int(plain or "0")
    except ValueError:
        pass
    try:
        return float(plain)
    except ValueError:
        raise failure(name, text, at, f"bad number {found}") from None


def _unquoted(name: str, text: str, found: str, at: int) -> str:
    result: list[str] = []
    letters = iter(found[1:-1])
    for letter in letters:
        if letter != "\\":
            result.append(letter)
            continue
        escape = next(letters, "")
        if escape in _LENGTHS:
            digits = "".join(next(letters, "") for _ in range(_LENGTHS[escape]))
            try:
                result.append(chr(int(digits, 16)))
            except (ValueError, OverflowError):
                raise failure(name, text, at, f"bad escape in {found}") from None
        elif escape in _ESCAPES or escape in "\\\"'":
            result.append(_ESCAPES.get(escape, escape))
        else:
            raise failure(name, text, at, f"bad escape in {found}")
    return "".join(result)


def failure(name: str, text: str, at: int, reason: str) -> TemplateError:
    """Return the error for a position in a template."""
    return TemplateError(f"template: {name}:{place(text, at)[0]}: {reason}")
