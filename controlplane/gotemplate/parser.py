"""Pieces of a template to its tree."""

from __future__ import annotations

from collections.abc import Collection

from controlplane.gotemplate.errors import TemplateError
from controlplane.gotemplate.lexer import Kind, Piece, failure, pieces
from controlplane.gotemplate.nodes import (
    Action,
    Break,
    Command,
    Continue,
    Dot,
    Fields,
    Function,
    If,
    Include,
    Literal,
    Node,
    Operand,
    Pipeline,
    Range,
    Text,
    Tree,
    Variable,
)
from controlplane.gotemplate.words import Words

_MAX_DEPTH = 50
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "nil": None}
_MAX_TEXT = 500_000
"""Characters of a template; the largest of Istio's own have some 20,000."""


def parse(name: str, text: str, functions: Collection[str]) -> Tree:
    """Read a template that may use these functions.

    Raises:
        TemplateError: it cannot be read; says the line.
    """
    if len(text) > _MAX_TEXT:
        raise TemplateError(f"template: {name}: is longer than {_MAX_TEXT} characters")
    return _Parser(name, text, functions).tree()


class _Parser:
    """Reads one template, piece by piece."""

    def __init__(self, name: str, text: str, functions: Collection[str]) -> None:
        self._name = name
        self._text = text
        self._functions = functions
        self._pieces = pieces(name, text)
        self._definitions: dict[str, tuple[Node, ...]] = {}
        self._variables = ["$"]
        self._ranges = 0
        self._depth = 0

    def tree(self) -> Tree:
        body, _, _ = self._body(())
        return Tree(self._name, body, self._definitions)

    def _body(self, ends: tuple[str, ...]) -> tuple[tuple[Node, ...], str, Words | None]:
        """Read nodes until one of these words; return them, the word, and what is behind it in its action."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TemplateError(f"template: {self._name}: nested deeper than {_MAX_DEPTH} levels")
        nodes: list[Node] = []
        opened: Piece | None = None
        for piece in self._pieces:
            opened = piece
            if piece.words is None:
                nodes.append(Text(piece.text))
                continue
            words = Words(self._name, self._text, piece.words)
            first = words.keyword()
            if first in ends:
                self._depth -= 1
                return tuple(nodes), first, words
            nodes += self._node(first, words)
        self._depth -= 1
        if ends:
            raise failure(
                self._name, self._text, opened.start if opened else 0, f"unexpected EOF, {ends[-1]} is missing"
            )
        return tuple(nodes), "", None

    def _node(self, first: str, words: Words) -> list[Node]:
        match first:
            case "if" | "with":
                return [self._if(words, is_with=first == "with")]
            case "range":
                return [self._range(words)]
            case "define" | "block":
                return self._define(words, is_block=first == "block")
            case "template":
                name = words.string()
                pipeline = None if words.at_end() else self._pipeline(words)
                node = Include(name, pipeline, words.place())
                words.finish()
                return [node]
            case "break" | "continue":
                words.finish()
                if not self._ranges:
                    raise words.failure(f"{{{{{first}}}}} outside {{{{range}}}}")
                return [Break() if first == "break" else Continue()]
            case "end" | "else":
                raise words.failure(f"unexpected {{{{{first}}}}}")
            case _:
                pipeline = self._pipeline(words)
                words.finish()
                return [Action(pipeline)]

    def _if(self, words: Words, *, is_with: bool) -> If:
        known = len(self._variables)
        pipeline = self._pipeline(words)
        words.finish()
        body, end, rest = self._body(("else", "end"))
        otherwise: tuple[Node, ...] = ()
        if end == "else" and rest is not None:
            word = "with" if is_with else "if"
            chained = rest.keyword() == word
            otherwise = (self._if(rest, is_with=is_with),) if chained else self._last_body(rest)
        elif rest is not None:
            rest.finish()
        del self._variables[known:]
        return If(pipeline, body, otherwise, is_with)

    def _last_body(self, rest: Words) -> tuple[Node, ...]:
        rest.finish()
        body, _, after = self._body(("end",))
        if after is not None:
            after.finish()
        return body

    def _range(self, words: Words) -> Range:
        known = len(self._variables)
        pipeline = self._pipeline(words, most_names=2)
        words.finish()
        self._ranges += 1
        body, end, rest = self._body(("else", "end"))
        self._ranges -= 1
        otherwise: tuple[Node, ...] = ()
        if rest is not None:
            if end == "else":
                otherwise = self._last_body(rest)
            else:
                rest.finish()
        del self._variables[known:]
        return Range(pipeline, body, otherwise)

    def _define(self, words: Words, *, is_block: bool) -> list[Node]:
        name = words.string()
        pipeline = self._pipeline(words) if is_block else None
        node = Include(name, pipeline, words.place())
        words.finish()
        outer, self._variables = self._variables, ["$"]
        ranges, self._ranges = self._ranges, 0
        body, _, rest = self._body(("end",))
        if rest is not None:
            rest.finish()
        self._variables, self._ranges = outer, ranges
        self._definitions[name] = body
        return [node] if is_block else []

    def _pipeline(self, words: Words, most_names: int = 1) -> Pipeline:
        names, declares = words.variables(most_names)
        commands = [self._command(words)]
        while words.takes("|"):
            commands.append(self._command(words))
            if isinstance(commands[-1].operands[0], (Literal, Dot)):
                raise words.failure("non executable command in pipeline")
        if declares:
            self._variables += names
        elif unknown := [name for name in names if name not in self._variables]:
            raise words.failure(f'undefined variable "{unknown[0]}"')
        return Pipeline(tuple(commands), names, declares)

    def _command(self, words: Words) -> Command:
        start = words.start()
        operands: list[Operand] = []
        while (operand := self._operand(words)) is not None:
            operands.append(operand)
        if not operands:
            raise words.failure("missing value for command")
        return Command(tuple(operands), words.place_from(start))

    def _operand(self, words: Words) -> Operand | None:
        word = words.take_operand()
        if word is None:
            return None
        found: Operand
        match word.kind:
            case Kind.STRING | Kind.NUMBER:
                found = Literal(word.value)
            case Kind.FIELD:
                return Fields(Dot(), (str(word.value), *words.fields()))
            case Kind.VARIABLE:
                if word.value not in self._variables:
                    raise words.failure(f'undefined variable "{word.value}"')
                found = Variable(str(word.value))
            case Kind.NAME if word.value in _CONSTANTS:
                found = Literal(_CONSTANTS[str(word.value)])
            case Kind.NAME:
                if word.value not in self._functions:
                    raise words.failure(f'function "{word.value}" not defined')
                found = Function(str(word.value))
            case Kind.SIGN if word.value == ".":
                found = Dot()
            case _:
                found = self._parenthesised(words)
        names = words.fields()
        if names and isinstance(found, (Literal, Function)):
            raise words.failure(
                f"unexpected .{names[0]} behind a {'constant' if isinstance(found, Literal) else 'name'}"
            )
        return Fields(found, names) if names else found

    def _parenthesised(self, words: Words) -> Pipeline:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise words.failure(f"nested deeper than {_MAX_DEPTH} levels")
        pipeline = self._pipeline(words)
        if not words.takes(")"):
            raise words.failure("unclosed left paren")
        self._depth -= 1
        return pipeline
