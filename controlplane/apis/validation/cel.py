"""Whether a text is a CEL expression, by its grammar alone: names and types are the proxy's business.

Reference: the Common Expression Language specification, "Syntax". The grammar is read by recursive descent, with the
levels of binary operators in one table.
"""

from __future__ import annotations

import re

MAX_DEPTH = 50
"""Nesting beyond which a text is refused; the specification asks for at least 12."""

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|//[^\n]*)
  | (?P<string>[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
  | (?P<number>(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)[uU]?)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<operator>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_BINARY = ({"||"}, {"&&"}, {"==", "!=", "<=", ">=", "<", ">", "in"}, {"+", "-"}, {"*", "/", "%"})
_END = ""


class _SyntaxError(ValueError):
    """Where and what; never leaves this module."""


def problem(expression: str) -> str:
    """Why this is not a CEL expression, or an empty text."""
    try:
        _Parser(expression).parse()
    except _SyntaxError as error:
        return str(error)
    return ""


class _Parser:
    """Reads one expression; what it means is not kept."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def parse(self) -> None:
        self._expression()
        if self._word != _END:
            raise self._unexpected()

    @property
    def _word(self) -> str:
        return self._tokens[self._at][1]

    @property
    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _unexpected(self) -> _SyntaxError:
        found = repr(self._word) if self._word else "the end"
        return _SyntaxError(f"{found} is not expected at character {self._tokens[self._at][2] + 1}")

    def _take(self, *tokens: str) -> bool:
        if self._kind != "string" and self._word in tokens and self._word != _END:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._unexpected()

    def _expression(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _SyntaxError(f"is nested deeper than {MAX_DEPTH} levels")
        self._binary(0)
        if self._take("?"):
            self._binary(0)
            self._expect(":")
            self._expression()
        self._depth -= 1

    def _binary(self, level: int) -> None:
        if level == len(_BINARY):
            self._unary()
            return
        self._binary(level + 1)
        while self._take(*_BINARY[level]):
            self._binary(level + 1)

    def _unary(self) -> None:
        while self._take("!", "-"):
            pass
        self._primary()
        while True:
            if self._take("."):
                self._name()
                if self._take("("):
                    self._list(")")
            elif self._take("["):
                self._expression()
                self._expect("]")
            elif self._take("{"):
                self._entries()
            else:
                return

    def _name(self) -> None:
        if self._kind != "name" or self._word == "in":
            raise self._unexpected()
        self._at += 1

    def _primary(self) -> None:
        if self._kind in {"string", "number"}:
            self._at += 1
        elif self._take("("):
            self._expression()
            self._expect(")")
        elif self._take("["):
            self._list("]")
        elif self._take("{"):
            self._entries()
        else:
            self._take(".")
            self._name()
            if self._take("("):
                self._list(")")

    def _list(self, end: str) -> None:
        while not self._take(end):
            self._expression()
            if not self._take(","):
                self._expect(end)
                return

    def _entries(self) -> None:
        while not self._take("}"):
            self._expression()
            self._expect(":")
            self._expression()
            if not self._take(","):
                self._expect("}")
                return


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Kind, text and position of each token, and an end."""
    found: list[tuple[str, str, int]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _SyntaxError(f"{text[at]!r} is not expected at character {at + 1}")
        if match.lastgroup != "blank":
            found.append((str(match.lastgroup), match[0], at))
        at = match.end()
    return [*found, ("end", _END, len(text))]
