"""A plan in a few lines, for those who have asked about one object: ``kubectl apply --dry-run=server``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
MOST_PROBLEMS = 8
LONGEST = 240
"""Characters of a line; an API server hands on 4096 of all."""


def short_lines(answer: Json) -> tuple[str, ...]:
    """Return what a plan says, as JSON (``plan.words``), in short: whom it reaches, what is wrong, what is mended."""
    return tuple(_cut(line) for line in _lines(answer))


def _lines(answer: Json) -> Iterator[str]:
    if not (answer["objects"] or answer["problems"] or answer["refused"]):
        yield "plan: nothing would change"
        return
    yield f"plan: {_reach(answer)}"
    for each in answer["refused"]:
        yield f"plan: {_name(each)} would be refused: {'; '.join(each['problems'])}"
    problems = sorted(answer["problems"], key=lambda each: each["level"] != "Error")
    for each in problems[:MOST_PROBLEMS]:
        code = f" [{each['code']}]" if each["code"] else ""
        path = f" {each['path']}" if each["path"] else ""
        yield f"plan: {each['level']}{code} {_name(each['object'])}{path}: {each['reason']}"
    if len(problems) > MOST_PROBLEMS:
        yield f"plan: and {len(problems) - MOST_PROBLEMS} problems more; `controlplane plan -f FILE` shows all"
    if answer["solved"]:
        yield f"plan: problems that this solves: {len(answer['solved'])}"


def _reach(answer: Json) -> str:
    totals = answer["totals"]
    if not totals["proxies"]:
        return f"none of {answer['proxyCount']} proxies would be sent anything"
    sizes = ", ".join(f"{service} {size} bytes" for service, size in totals["bytes"].items())
    drained = totals["drained"]["listeners"]
    ends = f", listeners drained: {drained}" if drained else ""
    return f"{totals['proxies']} of {answer['proxyCount']} proxies of the replica that was asked: {sizes}{ends}"


def _name(obj: Json | None) -> str:
    if obj is None:
        return "a resource"
    name = f"{obj['namespace']}/{obj['name']}" if obj["namespace"] else obj["name"]
    return f"{obj['kind']} {name}"


def _cut(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ..."
