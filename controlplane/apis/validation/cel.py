"""Whether a text is a CEL expression, by its grammar, and one that Envoy takes, by the functions it calls.

Reference: the Common Expression Language specification, "Syntax". The grammar is read by recursive descent, with the
levels of binary operators in one table. Names and types are looked at by nobody before a request comes.
"""

from __future__ import annotations

from controlplane.apis.validation.cel_functions import Call, Kind, Term, call_problem, number_problem, string_problem
from controlplane.kept import kept

MAX_DEPTH = 50
"""Nesting beyond which a text is refused; the specification asks for at least 12."""

MAX_LENGTH = 16_384
"""Characters beyond which a text is refused; what people write has some hundred."""

_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdefABCDEF")
_NAME_BEGIN = frozenset("_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NAME = _NAME_BEGIN | _DIGITS
_PAIRS = frozenset(("&&", "||", "==", "!=", "<=", ">="))
_OPERATORS = frozenset("-+*/%<>!?:.,()[]{}")
_BINARY = ({"||"}, {"&&"}, {"==", "!=", "<=", ">=", "<", ">", "in"}, {"+", "-"}, {"*", "/", "%"})
_LITERALS = ("true", "false", "null")
_RESERVED = frozenset(
    {
        *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let"),
        *("loop", "namespace", "package", "return", "var", "void", "while"),
    }
)
_END = ""


class _SyntaxError(ValueError):
    """Where and what; never leaves this module."""


def problem(expression: str) -> str:
    """Why this is not a CEL expression, or an empty text."""
    return _read(expression)[1]


@kept(1024)
def envoy_problem(expression: str) -> str:
    """Why Envoy does not take this as a CEL expression, or an empty text."""
    refused, reason = _read(expression)
    return reason or next(iter(refused), "")


def _read(expression: str) -> tuple[list[str], str]:
    """Return what Envoy refuses of an expression, and why it is none."""
    parser = _Parser(expression)
    try:
        parser.parse()
    except _SyntaxError as error:
        return parser.refused, str(error)
    return parser.refused, ""


class _Parser:
    """Reads one expression; what is kept of it is only what Envoy refuses."""

    def __init__(self, text: str) -> None:
        self.refused: list[str] = []
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        self._at = 0
        self._depth = 0

    def parse(self) -> None:
        self._tokens = _tokens(self._text)
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

    def _expression(self) -> Term:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _SyntaxError(f"is nested deeper than {MAX_DEPTH} levels")
        term = self._binary(0)
        if self._take("?"):
            self._binary(0)
            self._expect(":")
            self._expression()
            term = Term()
        self._depth -= 1
        return term

    def _binary(self, level: int) -> Term:
        if level == len(_BINARY):
            return self._unary()
        term = self._binary(level + 1)
        while self._take(*_BINARY[level]):
            self._binary(level + 1)
            term = Term()
        return term

    def _unary(self) -> Term:
        signs = 0
        sign = self._word if self._kind == "operator" and self._word in {"!", "-"} else _END
        while self._take(sign):
            signs += 1
        negative = sign == "-" and signs == 1
        if sign == "!" and self._tokens[self._at + 1 :] and self._tokens[self._at + 1][0] == "number":
            negative = self._take("-")
        term = self._primary(negative=negative)
        while True:
            if self._take("."):
                term = self._selected(term)
            elif self._take("["):
                self._expression()
                self._expect("]")
                term = Term()
            elif term.kind in {Kind.NAME, Kind.SELECTION} and self._take("{"):
                self.refused.append("makes a message, which Envoy does not take")
                self._entries()
                term = Term()
            else:
                return Term() if signs else term

    def _selected(self, target: Term) -> Term:
        """Read a field, or a function that is called on something."""
        if self._word in _LITERALS:
            raise self._unexpected()
        name = self._name()
        if not self._take("("):
            return Term(Kind.SELECTION)
        self._call(Call(name, target, self._arguments()))
        return Term()

    def _name(self) -> str:
        if self._kind != "name" or self._word == "in":
            raise self._unexpected()
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _call(self, call: Call) -> None:
        if reason := call_problem(call):
            self.refused.append(reason)

    def _primary(self, *, negative: bool) -> Term:
        if self._kind in {"string", "number"}:
            return self._literal(negative=negative)
        if self._take("("):
            term = self._expression()
            self._expect(")")
            return term
        if self._take("["):
            self._list("]")
        elif self._take("{"):
            self._entries()
        elif self._take(*_LITERALS):
            pass
        else:
            self._take(".")
            if self._word in _RESERVED:
                raise self._unexpected()
            name = self._name()
            if not self._take("("):
                return Term(Kind.NAME, name)
            self._call(Call(name, None, self._arguments()))
        return Term()

    def _literal(self, *, negative: bool) -> Term:
        kind, text, at = self._tokens[self._at]
        reason = string_problem(text) if kind == "string" else number_problem(text, negative=negative)
        if reason:
            raise _SyntaxError(f"the literal at character {at + 1} {reason}")
        self._at += 1
        return Term(Kind.STRING, text) if kind == "string" else Term()

    def _arguments(self) -> tuple[Term, ...]:
        """Read what stands between the brackets of a call; a list may end with a comma, this may not."""
        if self._take(")"):
            return ()
        found = [self._expression()]
        while self._take(","):
            found.append(self._expression())
        self._expect(")")
        return tuple(found)

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
    if len(text) > MAX_LENGTH:
        raise _SyntaxError(f"is longer than {MAX_LENGTH} characters")
    found: list[tuple[str, str, int]] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        if text.startswith("//", at):
            line_end = text.find("\n", at)
            at = line_end if line_end >= 0 else len(text)
            continue
        kind, end = _token(text, at)
        found.append((kind, text[at:end], at))
        at = end
    return [*found, ("end", _END, len(text))]


def _token(text: str, at: int) -> tuple[str, int]:
    """Return what kind of token begins here, and where it ends."""
    char, following = text[at], text[at + 1 : at + 2]
    if (end := _string_end(text, at)) > at:
        return "string", end
    if char in _DIGITS or (char == "." and following in _DIGITS):
        return "number", _number_end(text, at)
    if char in _NAME_BEGIN:
        return "name", _run(text, at, _NAME)
    if char + following in _PAIRS:
        return "operator", at + 2
    if char in _OPERATORS:
        return "operator", at + 1
    raise _SyntaxError(f"{char!r} is not expected at character {at + 1}")


def _run(text: str, at: int, within: frozenset[str]) -> int:
    """Return where the characters of a set end."""
    while at < len(text) and text[at] in within:
        at += 1
    return at


def _number_end(text: str, at: int) -> int:
    if text[at : at + 2] == "0x" and text[at + 2 : at + 3] in _HEX:
        end = _run(text, at + 2, _HEX)
    else:
        end = whole = _run(text, at, _DIGITS)
        if text[end : end + 1] == "." and text[end + 1 : end + 2] in _DIGITS:
            end = _run(text, end + 1, _DIGITS)
        exponent = end + 1 + (text[end + 1 : end + 2] in {"+", "-"})
        if text[end : end + 1] in {"e", "E"} and text[exponent : exponent + 1] in _DIGITS:
            end = _run(text, exponent, _DIGITS)
        if end > whole:
            return end
    return end + (text[end : end + 1] in {"u", "U"})


def _string_end(text: str, at: int) -> int:
    """Return where a string ends that begins here; ``at`` itself where none does."""
    begin = at
    while begin < at + 2 and text[begin : begin + 1] in {"r", "R", "b", "B"}:
        begin += 1
    quote = text[begin : begin + 1]
    if quote not in {'"', "'"}:
        return at
    if text.startswith(quote * 3, begin) and (end := _closed(text, begin + 3, quote * 3)) >= 0:
        return end
    end = _closed(text, begin + 1, quote)
    return end if end >= 0 else at


def _closed(text: str, at: int, quotes: str) -> int:
    """Return the end of a string's closing quotes, -1 where there are none; a line ends a string of single ones."""
    while at < len(text):
        if text.startswith(quotes, at):
            return at + len(quotes)
        if text[at] == "\n" and len(quotes) == 1:
            return -1
        at += 2 if text[at] == "\\" else 1
    return -1
