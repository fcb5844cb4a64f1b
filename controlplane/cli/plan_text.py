"""A plan as text: the objects with what comes of each, the problems, and the sum in the last lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from controlplane.cli.plan_tests import AskedTest
from controlplane.documents.places import pointer_path

Json = Mapping[str, Any]
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
_WORDS = {"added": "new", "changed": "changed", "removed": "removed"}
NOUNS = {
    "CDS": "cluster",
    "EDS": "load assignment",
    "LDS": "listener",
    "RDS": "route configuration",
    "SDS": "secret",
    "ECDS": "extension",
    "NDS": "name table",
    "PCDS": "trust bundle",
}
"""What a resource is called, by its discovery service."""
_MOST_FIELDS = 10
_LONGEST = 60
_SHARED = 12
"""Characters that are told of what two values share before they differ."""
_MOST_OBJECTS = 100


def plan_text(answer: Json, asked: Sequence[AskedTest], *, verbose: bool) -> str:
    """Return the lines of a plan; ``asked`` are the tests whose answer is another."""
    lines = [_heading(answer)]
    told: set[int] = set()
    for obj in answer["objects"][:_MOST_OBJECTS]:
        lines += ["", *_object(answer, obj, told)]
    if len(answer["objects"]) > _MOST_OBJECTS:
        lines += ["", f"and {len(answer['objects']) - _MOST_OBJECTS} more objects"]
    for each in answer["refused"]:
        stays = "" if each["kind"] == "AuthorizationPolicy" else ", and what is in force stays"  # its problems say what
        lines += ["", f"! {object_name(each)} is refused{stays}   {each['source']}".rstrip()]
        lines += [f"    {problem}" for problem in each["problems"]]
    rest = [each for at, each in enumerate(answer["problems"]) if at not in told]
    if rest:
        lines += ["", "Elsewhere:", *(f"  ! {_named_problem(each)}" for each in rest)]
    if answer["solved"]:
        lines += ["", "Solved:", *(f"    {_named_problem(each)}" for each in answer["solved"])]
    if verbose:
        lines += classes_lines(answer["classes"])
    lines += _repeated(answer["repeated"])
    if answer["unused"]:
        lines += ["", f"Without meaning here: {', '.join(answer['unused'])}"]
    lines += ["", *_sum(answer)]
    lines += _tests(answer, asked)
    return "\n".join([*lines, _end(answer, asked)])


def _repeated(repeated: Sequence[Json]) -> Iterator[str]:
    if repeated:
        yield ""
        yield "Given twice; the last counts, as with kubectl apply:"
        yield from (f"  ! {object_name(each)}: {each['first']}, then {each['used']}" for each in repeated)


def _heading(answer: Json) -> str:
    counts = {word: sum(each["change"] == change for each in answer["objects"]) for change, word in _WORDS.items()}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing changes"
    objects = number(len(answer["objects"]), "object")
    return f"Against {answer['against']}, revision {answer['revision']}.  {objects}: {told}."


def _object(answer: Json, obj: Json, told: set[int]) -> Iterator[str]:
    source = f"   {obj['source']}" if obj["source"] else ""
    yield f"{_SIGNS[obj['change']]} {object_name(obj)}{source}"
    yield from (f"    {line}" for line in fields(obj["patch"]))
    yield f"    {effect_text(obj['effect'], answer['proxyCount'])}"
    for at, problem in enumerate(answer["problems"]):
        if at not in told and (_is(problem["object"], obj) or _is(problem["winner"], obj)):
            told.add(at)
            text = problem_text(problem) if _is(problem["object"], obj) else _named_problem(problem)
            yield f"    ! {text}"


def fields(patch: Sequence[Json]) -> Iterator[str]:
    """Yield a line for each step of a patch: the field, and its values before and after."""
    rows = [(pointer_path(each.get("place", each["path"])), _step(each)) for each in patch]
    width = max((len(path) for path, _ in rows[:_MOST_FIELDS]), default=0)
    for path, step in rows[:_MOST_FIELDS]:
        yield f"{path:<{width}}   {step}"
    if len(rows) > _MOST_FIELDS:
        yield f"and {len(rows) - _MOST_FIELDS} more fields"


def _step(edit: Json) -> str:
    if edit["op"] == "add":
        return f"+ {_value(edit['value'])}"
    if edit["op"] == "remove":
        return f"- {_value(edit['was'])}"
    return " -> ".join(_pair(edit["was"], edit["value"]))


def _value(value: object) -> str:
    return _cut(_written(value), 0)


def _pair(before: object, after: object) -> tuple[str, str]:
    """Return two values, cut so that what differs is seen."""
    texts = _written(before), _written(after)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False)))
    cut = max(map(len, texts)) > _LONGEST and same + _SHARED > _LONGEST
    begin = same - _SHARED if cut else 0
    old, new = (_cut(text, begin) for text in texts)
    return old, new


def _written(value: object) -> str:
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _cut(text: str, begin: int) -> str:
    rest = f"...{text[begin:]}" if begin else text
    return rest if len(rest) <= _LONGEST else f"{rest[: _LONGEST - 3]}..."


def effect_text(effect: Json | None, total: int) -> str:
    """Return whom something reaches, and how many resources of each type."""
    if effect is None:
        return "applied together with the others: what comes of it alone was not looked at"
    if not effect["proxyCount"]:
        return "no proxy is sent anything for it"
    gateways = effect["gateways"]
    kinds = [number(effect["sidecars"], "sidecar")] if effect["sidecars"] else []
    if gateways:
        kinds.append(f"gateway {gateways[0]}" if len(gateways) == 1 else number(len(gateways), "gateway"))
    return f"{effect['proxyCount']} of {number(total, 'proxy')} ({', '.join(kinds)}): {_counts(effect['resources'])}"


def _counts(resources: Json) -> str:
    told = []
    for service, counts in resources.items():
        signs = " ".join(f"{_SIGNS[change]}{count}" for change, count in counts.items())
        told.append(f"{_plural(NOUNS[service])} {signs}")
    return ", ".join(told)


def classes_lines(classes: Iterable[Json]) -> Iterator[str]:
    """Yield what proxies are sent, those together that are sent the same."""
    for each in classes:
        names = ", ".join(each["proxies"][:3]) + (", ..." if each["proxyCount"] > 3 else "")  # noqa: PLR2004 - enough
        yield ""
        yield f"{number(each['proxyCount'], 'proxy')} ({names}):"
        for resource in each["resources"]:
            size = f"   {_size(resource['sizeBytes'])}" if resource["sizeBytes"] else ""
            yield f"  {_SIGNS[resource['change']]} {NOUNS[resource['type']]} {resource['name']}{size}"
            yield from (f"      {line}" for line in fields(resource.get("patch", ())))
            if "unshown" in resource:
                yield f"      {resource['unshown']}"


def _sum(answer: Json) -> Iterator[str]:
    totals = answer["totals"]
    told = [f"{totals['proxies']} of {number(answer['proxyCount'], 'proxy')}"]
    if totals["resources"]:
        told.append(_counts(totals["resources"]))
        told += [f"{service} {_size(size)}" for service, size in totals["bytes"].items()]
        drained = totals["drained"]
        told.append(f"listeners drained {drained['listeners']}")
        if drained["filterChains"]:
            told.append(f"filter chains drained {drained['filterChains']}")
    conflicts = sum(each["winner"] is not None for each in answer["problems"])
    told.append(f"new conflicts {conflicts}")
    yield f"Plan: {', '.join(told)}."


def _tests(answer: Json, asked: Sequence[AskedTest]) -> Iterator[str]:
    if not answer["requests"]:
        return
    yield f"Requests that change: {len(asked)} of {len(answer['requests'])}{':' if asked else '.'}"
    for each in asked:
        verdict = "passes now" if each.mends else "goes elsewhere"
        if each.breaks:
            verdict = "! fails before and after" if each.problems_before else "! fails now"
        yield f"  {each.case.file}: {each.case.title}   {verdict}"
        yield f"      before  {_result(each.before)}"
        yield f"      after   {_result(each.after)}"
        yield from (f"      {problem}" for problem in _differing(each.problems_after) if each.breaks)


def _differing(problems: Sequence[str]) -> Iterator[str]:
    """Yield what differs; that a request fails is told already."""
    return (problem for problem in problems if not problem.startswith("it "))


def _result(answer: Json) -> str:
    return str(answer["error"] if "error" in answer else "; ".join(answer["result"].splitlines()))


def _end(answer: Json, asked: Sequence[AskedTest]) -> str:
    errors = answer["errors"] + sum(each.breaks for each in asked)
    return f"{number(errors, 'error')}, {number(answer['warnings'], 'warning')}. Nothing was applied."


def problem_text(problem: Json) -> str:
    """Return a problem with its field and code."""
    where = f"{problem['path']}: " if problem["path"] else ""
    proxies = f" at {number(problem['proxies'], 'proxy')}" if problem.get("proxies") else ""
    return f"{where}{problem['reason']}{proxies}" + (f"   {problem['code']}" if problem["code"] else "")


def _named_problem(problem: Json) -> str:
    return f"{object_name(problem['object'])} {problem_text(problem)}" if problem["object"] else problem_text(problem)


def object_name(obj: Json) -> str:
    """Return the name of an object as people write it."""
    return f"{obj['kind']} {obj['namespace']}/{obj['name']}" if obj["namespace"] else f"{obj['kind']} {obj['name']}"


def _is(one: Json | None, other: Json) -> bool:
    return one is not None and all(one[part] == other[part] for part in ("kind", "group", "namespace", "name"))


def number(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun if count == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun != "gateway" else f"{noun}s"


def _size(size: int) -> str:
    return f"{size} B" if size < 1_000 else f"{size / 1_000:.0f} KB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004 - units
