"""What one object makes, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import codes
from controlplane.cli.plan_text import classes_lines, effect_text, number, object_name, problem_text

Json = Mapping[str, Any]


def is_whole(answer: Json) -> bool:
    """Whether all of the object has an effect, and every proxy takes it."""
    unused = any(not rule["inUse"] for rule in answer["rules"])
    refusals = answer["delivery"] is not None and answer["delivery"]["refusalCount"]
    return not (unused or refusals or answer["problems"] or answer["untranslated"] or answer["refused"])


def is_nothing(answer: Json) -> bool:
    """Whether the object, as it is in force, has no effect at all."""
    return not (answer["effect"]["proxyCount"] or answer["refused"])


def object_text(answer: Json, *, verbose: bool) -> str:
    """Return the lines of an explanation of an object."""
    source = f"   {answer['source']}" if answer["source"] else ""
    lines = [f"{object_name(answer['object'])}   revision {answer['revision']}{source}", ""]
    effect = answer["effect"]
    if effect["proxyCount"]:
        lines.append(f"  makes    {effect_text(effect, answer['proxyCount'])}")
    else:
        lines.append(f"  makes    nothing: none of {number(answer['proxyCount'], 'proxy')} has anything because of it")
    lines += _rules(answer)
    lines += [f"  delivered  {line}" for line in _delivery(answer["delivery"])]
    lines += _section("Refused: its last good version is in force, if there was one", answer["refused"])
    problems = [problem_text(each) for each in answer["problems"]]
    lines += _section("Without the effect that it states", [*problems, *map(_unread, answer["untranslated"])])
    lines += _section("Why it makes nothing", answer["reasons"])
    overrides = (f"{object_name(each['object'])} {each['path']}   {each['code']}" for each in answer["overrides"])
    lines += _section("Used in place of", list(overrides))
    if verbose:
        lines += classes_lines(answer["classes"])
    return "\n".join(lines)


def _rules(answer: Json) -> Iterator[str]:
    for rule in answer["rules"]:
        name = f"  {rule['name']}" if rule["name"] else ""
        yield f"  rule     {rule['path']}{name}   {'in use' if rule['inUse'] else '! no proxy has a route of it'}"


def _delivery(delivery: Json | None) -> Iterator[str]:
    if delivery is None:
        return
    for service, states in delivery["states"].items():
        yield f"{service}  {', '.join(f'{count} {state}' for state, count in states.items())}"
    for each in delivery["refusals"]:
        yield f"! {each['proxy']} refuses {each['type']}: {each['reason']}"
    if delivery["refusalCount"] > len(delivery["refusals"]):
        yield f"! and {delivery['refusalCount'] - len(delivery['refusals'])} more refuse"


def _unread(path: str) -> str:
    return f"{codes.UNTRANSLATED.sentence.format(field=path)}   {codes.UNTRANSLATED.id}"


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)
