"""The words of one action, taken from the front."""

from __future__ import annotations

from controlplane.gotemplate.errors import TemplateError
from controlplane.gotemplate.lexer import Kind, Word, failure, place
from controlplane.gotemplate.nodes import Place


class Words:
    """What is left of an action."""

    def __init__(self, name: str, text: str, words: tuple[Word, ...]) -> None:
        self._name = name
        self._text = text
        self._words = words
        self._at = 0

    def keyword(self) -> str:
        """Take the first word where it is one that begins or ends something."""
        self._skip()
        word = self._words[self._at]
        keywords = ("if", "else", "end", "range", "with", "define", "block", "template", "break", "continue")
        if word.kind is Kind.NAME and word.value in keywords:
            self._at += 1
            return str(word.value)
        return ""

    def string(self) -> str:
        """Take a text."""
        self._skip()
        word = self._words[self._at]
        if word.kind is not Kind.STRING:
            raise self.failure("a name between quotes is missing")
        self._at += 1
        return str(word.value)

    def at_end(self) -> bool:
        """Whether nothing is left."""
        self._skip()
        return self._words[self._at].kind is Kind.END

    def finish(self) -> None:
        """Nothing may be left."""
        if not self.at_end():
            word = self._words[self._at]
            raise self.failure(f"unexpected {self._text[word.start : word.end]!r} in an action")

    def takes(self, sign: str) -> bool:
        """Take this sign where it is next; return whether it was."""
        self._skip()
        word = self._words[self._at]
        if word.kind is Kind.SIGN and word.value == sign:
            self._at += 1
            return True
        return False

    def variables(self, most: int) -> tuple[tuple[str, ...], bool]:
        """Take ``$a :=``, ``$a, $b :=`` or ``$a =`` where one stands there."""
        start = self._at
        names: list[str] = []
        while True:
            self._skip()
            word = self._words[self._at]
            if word.kind is not Kind.VARIABLE:
                break
            names.append(str(word.value))
            self._at += 1
            for sign in (":=", "="):
                if self.takes(sign):
                    if len(names) > most:
                        raise self.failure("too many declarations")
                    return tuple(names), sign == ":="
            if not self.takes(","):
                break
        self._at = start
        return (), True

    def take_operand(self) -> Word | None:
        """Take the word that begins an operand, ``None`` where the command ends."""
        self._skip()
        word = self._words[self._at]
        ends = word.kind is Kind.END or (word.kind is Kind.SIGN and word.value in ("|", ")"))
        if ends:
            return None
        if word.kind is Kind.SIGN and word.value not in (".", "("):
            raise self.failure(f"unexpected {word.value!r} in operand")
        self._at += 1
        return word

    def fields(self) -> tuple[str, ...]:
        """Take the fields that follow without a space."""
        names: list[str] = []
        while self._words[self._at].kind is Kind.FIELD:
            names.append(str(self._words[self._at].value))
            self._at += 1
        return tuple(names)

    def start(self) -> int:
        """Return the position of what is next."""
        self._skip()
        return self._words[self._at].start

    def place(self) -> Place:
        """Return the place of the action."""
        return self.place_from(self._words[0].start)

    def place_from(self, start: int) -> Place:
        """Return the place of what was taken since a position."""
        end = self._words[self._at - 1].end if self._at else start
        line, column = place(self._text, start)
        return Place(line, column, self._text[start:end].strip())

    def failure(self, reason: str) -> TemplateError:
        """Return the error for what is next."""
        return failure(self._name, self._text, self._words[min(self._at, len(self._words) - 1)].start, reason)

    def _skip(self) -> None:
        while self._words[self._at].kind is Kind.SPACE:
            self._at += 1
