"""Explanations as text: Envoy's elements on the left, in its order, and the object of each on the right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
Row = tuple[str, str, str]
_WIDEST = 58
_STEP = 13


def explanation_text(answer: Json) -> str:
    """Return the lines of an explanation of a request; of what an Envoy holds, with what it should hold instead."""
    lines = list(_lines(answer))
    if "served" not in answer:
        return "\n".join(lines)
    lines[0] += ", as its Envoy holds it"
    if not answer["differs"]:
        return "\n".join([*lines, "", "Its Envoy holds what it is served, as far as this request goes."])
    difference = list(difflib.unified_diff(list(_lines(answer["served"])), list(_lines(answer)), n=0, lineterm=""))
    told = [line for line in difference[2:] if not line.startswith("@@") and line[1:].strip()]
    return "\n".join([*lines, "", "Its Envoy does not hold what it is served (-), but another thing (+):", *told])


def _lines(answer: Json) -> Iterator[str]:
    proxy = answer["proxy"]
    yield from (f"{proxy['id']}    {_kind(proxy['type'])}, revision {answer['revision']}", "")
    yield from _table(_rows(answer["steps"]))
    for server in answer["servers"]:
        name = server["proxy"] or "no proxy"
        yield from ("", f"  at {server['endpoint']}    {name}")
        yield from _table(_rows(server["steps"], inner=True))
        yield from (f"    {line}" for line in _end(server["outcome"]))
    unknown = answer["outcome"].get("unknown", ())
    if unknown:
        yield from ("", f"  Not known here, and perhaps another answer: what {', '.join(unknown)} does.")
    first, *rest = answer["result"].split("\n")
    yield from ("", f"=> {first}", *(f"   {line}" for line in rest))


def _kind(kind: str) -> str:
    return "gateway" if kind == "router" else kind


def _end(outcome: Json) -> Iterator[str]:
    failure = outcome.get("failure")
    if failure is not None:
        status = f"{failure['status']} {failure['flag']}".strip() if failure["status"] else "connection closed"
        yield f"=> {status}: {failure['reason']}"


def _rows(steps: Iterable[Json], depth: int = 0, *, inner: bool = False) -> Iterator[Row]:
    for step in steps:
        indent = "  " * (depth + (2 if inner else 1))
        verdict, note = step.get("verdict", ""), step.get("note", "")
        name = step["step"]
        left = f"{indent}{name:<{_STEP}} {step['value']}"
        middle = "  ".join(filter(None, [verdict, note]))
        yield left, middle, "   ".join(filter(None, [source_text(step.get("source")), step.get("code", "")]))
        yield from _rows(step.get("steps", ()), depth + 1, inner=inner)


def source_text(source: Json | None) -> str:
    """Return an object with its field, as ``VirtualService shop/reviews  spec.http[0]``."""
    if not source:
        return ""
    name = f"{source['namespace']}/{source['name']}" if source["namespace"] else source["name"]
    return f"{source['kind']} {name}" + (f"  {source['field']}" if source["field"] else "")


def _table(rows: Iterable[Row]) -> list[str]:
    """Return lines whose sources stand below each other, as far as what is left of them is not too wide."""
    held = [(f"{left}  {middle}".rstrip() if middle else left, right) for left, middle, right in rows]
    width = min(max((len(left) for left, right in held if right), default=0), _WIDEST + 20)
    return [f"{left:<{width}}   {right}".rstrip() if right else left for left, right in held]
