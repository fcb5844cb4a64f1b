"""Runs a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any, NoReturn, assert_never

from controlplane.gotemplate.errors import FunctionError, TemplateError
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
    Place,
    Range,
    Text,
    Tree,
    Variable,
)
from controlplane.gotemplate.parser import parse
from controlplane.gotemplate.values import elements, extent, field, is_true, lacks, printed

Functions = Mapping[str, Callable[..., Any]]

MAX_STEPS = 100_000
"""Nodes and commands that one run may take; the largest of Istio's own templates takes some hundreds."""
MAX_OUTPUT = 1_000_000
"""Characters that one run may make: more than any object of Kubernetes has."""
_MAX_INCLUDES = 30
_CHARACTERS_A_STEP, _ELEMENTS_A_STEP = 256, 16
_NOTHING = object()
_SHORT_CIRCUIT = {"and": False, "or": True}
"""Functions that look at their arguments one after the other, and the truth at which they end."""


class Template:
    """A template that was read; ``render`` may be called at any time, and from any thread."""

    def __init__(self, name: str, text: str, functions: Functions, library: str = "") -> None:
        """Read it; ``library`` is a text whose definitions it may use, and nothing else of it.

        Raises:
            TemplateError: it cannot be read; says the line.
        """
        self._functions = functions
        tree, known = parse(name, text, names := {*functions, *_SHORT_CIRCUIT}), parse(name, library, names)
        self._tree = replace(tree, definitions={**known.definitions, **tree.definitions})

    def render(self, value: object) -> str:
        """Return the text that the template makes of a value.

        Raises:
            TemplateError: it fails, or takes too long; says the line.
        """
        run = _Run(self._tree, self._functions, value)
        return run.text()


class _Stop(Exception):  # noqa: N818 - it is no error
    """Ends a body; ``again`` where the range goes on."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.again = again


class _Run:
    """One run of a template."""

    def __init__(self, tree: Tree, functions: Functions, value: object) -> None:
        self._tree = tree
        self._functions = functions
        self._variables: list[tuple[str, Any]] = [("$", value)]
        self._output: list[str] = []
        self._size = self._steps = self._includes = 0
        self._value = value

    def text(self) -> str:
        self._body(self._tree.body, self._value)
        return "".join(self._output)

    def _body(self, nodes: tuple[Node, ...], dot: Any) -> None:  # noqa: ANN401 - any value
        for node in nodes:
            self._step()
            match node:
                case Text():
                    self._print(node.text)
                case Action():
                    value = self._pipeline(node.pipeline, dot)
                    if not node.pipeline.names:
                        self._print(self._guarded(node.pipeline.commands[-1].place, printed, value))
                case If():
                    self._if(node, dot)
                case Range():
                    self._range(node, dot)
                case Include():
                    self._include(node, dot)
                case Break():
                    raise _Stop(again=False)
                case Continue():
                    raise _Stop(again=True)
                case _:
                    assert_never(node)

    def _if(self, node: If, dot: Any) -> None:  # noqa: ANN401 - any value
        known = len(self._variables)
        value = self._pipeline(node.pipeline, dot)
        if is_true(value):
            self._body(node.body, value if node.is_with else dot)
        else:
            self._body(node.otherwise, dot)
        del self._variables[known:]

    def _range(self, node: Range, dot: Any) -> None:  # noqa: ANN401 - any value
        known = len(self._variables)
        pipeline = Pipeline(node.pipeline.commands)
        names = node.pipeline.names
        value = self._pipeline(pipeline, dot)
        self._steps += len(value) // _ELEMENTS_A_STEP if isinstance(value, (dict, list, tuple)) else 0
        empty = True
        for key, each in self._guarded(pipeline.commands[-1].place, elements, value):
            empty = False
            self._step()
            given = (each,) if len(names) == 1 else (key, each)
            for name, part in zip(names, given, strict=False):
                self._set(name, part, declares=node.pipeline.declares)
            inner = len(self._variables)
            try:
                self._body(node.body, each)
            except _Stop as stop:
                if not stop.again:
                    break
            finally:
                del self._variables[inner:]
            if node.pipeline.declares:
                del self._variables[known:]
        if empty:
            self._body(node.otherwise, dot)
        del self._variables[known:]

    def _include(self, node: Include, dot: Any) -> None:  # noqa: ANN401 - any value
        if node.name not in self._tree.definitions:
            self._fail(node.place, f'template "{node.name}" not defined')
        if self._includes >= _MAX_INCLUDES:
            self._fail(node.place, f"definitions include each other more than {_MAX_INCLUDES} times")
        value = None if node.pipeline is None else self._pipeline(node.pipeline, dot)
        outer, self._variables = self._variables, [("$", value)]
        self._includes += 1
        self._body(self._tree.definitions[node.name], value)
        self._includes -= 1
        self._variables = outer

    def _pipeline(self, pipeline: Pipeline, dot: Any) -> Any:  # noqa: ANN401 - any values
        value: Any = _NOTHING
        for command in pipeline.commands:
            value = self._command(command, dot, value)
        for name in pipeline.names:
            self._set(name, value, declares=pipeline.declares)
        return value

    def _command(self, command: Command, dot: Any, last: Any) -> Any:  # noqa: ANN401 - any values
        self._step()
        first, *rest = command.operands
        if isinstance(first, Function):
            return self._call(first.name, rest, command, dot, last)
        if rest or last is not _NOTHING:
            if isinstance(first, Fields) and first.names[-1].startswith("Get") and not rest:
                return self._operand(first, command.place, dot)
            self._fail(command.place, f"can't give argument to non-function {command.place.text.split(maxsplit=1)[0]}")
        if first == Literal(None):
            self._fail(command.place, "nil is not a command")
        return self._operand(first, command.place, dot)

    def _call(
        self,
        name: str,
        operands: list[Operand],
        command: Command,
        dot: Any,  # noqa: ANN401 - any value
        last: Any,  # noqa: ANN401 - any value
    ) -> Any:  # noqa: ANN401 - any value
        if name in _SHORT_CIRCUIT:
            return self._short_circuit(name, operands, command, dot, last)
        arguments = [self._operand(each, command.place, dot) for each in operands]
        if last is not _NOTHING:
            arguments.append(last)
        function = self._functions[name]
        try:
            if problem := _count_problem(function, len(arguments)):
                self._fail(command.place, f"wrong number of args for {name}: {problem}")
            result = function(*arguments)
        except FunctionError as error:
            self._fail(command.place, f"error calling {name}: {error}")
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:  # Python's own words
            self._fail(command.place, f"error calling {name}: {type(error).__name__}: {error}")
        for each in (result, *arguments):
            self._charge(each, command.place)
        return result

    def _charge(self, value: Any, place: Place) -> None:  # noqa: ANN401 - any value
        """Count what a function took and made: a large value is many steps."""
        if isinstance(value, str):
            self._steps += len(value) // _CHARACTERS_A_STEP
            size = len(value)
        elif isinstance(value, (dict, list, tuple)):
            size = extent(value, MAX_OUTPUT)
            self._steps += size // _ELEMENTS_A_STEP
        else:
            return
        if size >= MAX_OUTPUT:
            self._fail(place, "the value is too large")

    def _short_circuit(
        self,
        name: str,
        operands: list[Operand],
        command: Command,
        dot: Any,  # noqa: ANN401 - any value
        last: Any,  # noqa: ANN401 - any value
    ) -> Any:  # noqa: ANN401 - any value
        value: Any = _NOTHING
        for each in operands:
            value = self._operand(each, command.place, dot)
            if is_true(value) is _SHORT_CIRCUIT[name]:
                return value
        if last is not _NOTHING:
            value = last
        if value is _NOTHING:
            self._fail(command.place, f"wrong number of args for {name}: want at least 1 got 0")
        return value

    def _operand(self, operand: Operand, place: Place, dot: Any) -> Any:  # noqa: ANN401 - any values
        match operand:
            case Literal():
                return operand.value
            case Dot():
                return dot
            case Variable():
                return next(value for name, value in reversed(self._variables) if name == operand.name)
            case Fields():
                value = self._operand(operand.of, place, dot)
                for name in operand.names:
                    if lacks(value, name):
                        return None  # what is further below it is not there either
                    value = self._guarded(place, field, value, name)
                return value
            case Pipeline():
                return self._pipeline(operand, dot)
            case Function():
                return self._call(operand.name, [], Command((operand,), place), dot, _NOTHING)
            case _:
                assert_never(operand)

    def _set(self, name: str, value: Any, *, declares: bool) -> None:  # noqa: ANN401 - any value
        if declares:
            self._variables.append((name, value))
            return
        at = next(at for at in range(len(self._variables) - 1, -1, -1) if self._variables[at][0] == name)
        self._variables[at] = (name, value)

    def _guarded(self, place: Place, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - any
        try:
            return function(*arguments)
        except FunctionError as error:
            self._fail(place, str(error))

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TemplateError(f"template: {self._tree.name}: takes more than {MAX_STEPS} steps")

    def _print(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_OUTPUT:
            raise TemplateError(f"template: {self._tree.name}: makes more than {MAX_OUTPUT} characters")
        self._output.append(text)

    def _fail(self, place: Place, reason: str) -> NoReturn:
        name = self._tree.name
        where = f"template: {name}:{place.line}:{place.column}"
        raise TemplateError(f'{where}: executing "{name}" at <{place.text[:100]}>: {reason}')


def _count_problem(function: Callable[..., Any], count: int) -> str:
    """Return what is wrong with a number of arguments, empty where it fits."""
    least = most = 0
    for parameter in signature(function).parameters.values():
        if parameter.kind is Parameter.VAR_POSITIONAL:
            most = -1
        elif parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            least += parameter.default is Parameter.empty
            most += most >= 0
    if count < least:
        return f"want {'at least ' if most != least else ''}{least} got {count}"
    return f"want at most {most} got {count}" if 0 <= most < count else ""
