"""A template as values: what the parser makes and the evaluation walks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """Where something stands, and its text: line from 1, column from 0, as Go counts them."""

    line: int
    column: int
    text: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: text, number, boolean or ``nil``."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Dot:
    """The value that is looked at."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable; ``$`` is the value that the template was given."""

    name: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields of a value, one in the other."""

    of: Operand
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """An operand alone, or a function and its arguments."""

    operands: tuple[Operand, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands of which each takes the value of the one before as its last argument.

    ``names`` are variables that take its value; ``declares`` says whether they are new.
    """

    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    declares: bool = True


Operand = Literal | Dot | Variable | Function | Fields | Pipeline


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is copied."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is printed, unless it goes to a variable."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class If:
    """One of two bodies; with ``is_with`` the first looks at the value of the pipeline."""

    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    is_with: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A body for each element, or another where there is none."""

    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Include:
    """The body of a definition, with a value to look at; nothing without a pipeline."""

    name: str
    pipeline: Pipeline | None
    place: Place


@dataclass(frozen=True, slots=True)
class Break:
    """Ends the innermost range."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Goes on with the next element of the innermost range."""


Node = Text | Action | If | Range | Include | Break | Continue


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole template: its body, and the bodies that it defines by name."""

    name: str
    body: tuple[Node, ...]
    definitions: dict[str, tuple[Node, ...]]
