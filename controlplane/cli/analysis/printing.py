"""How findings are printed: one line each, or as values with istioctl's names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from controlplane.analysis.codes import Level
from controlplane.analysis.resources import Message
from controlplane.cli.output import has_colours
from controlplane.printable import printable

_STYLES = {Level.ERROR: "\x1b[1;31m", Level.WARNING: "\x1b[33m", Level.INFO: ""}
_PLAIN = "\x1b[0m"


def reference(each: Message) -> str:
    """Return ``file:line``, empty where the object was written in no file."""
    place = each.resource.place
    return f"{place.file}:{place.line(each.path)}" if place is not None else each.written


def line(each: Message, *, colours: bool = False) -> str:
    """Return a finding as istioctl's line: level, code (if it has one), object with its place, and the sentence."""
    level = each.code.level.value
    if colours and (style := _STYLES[each.code.level]):
        level = f"{style}{level}{_PLAIN}"
    where = " ".join(part for part in (each.resource.origin.strip(), reference(each)) if part)
    cluster = f"[{each.resource.cluster}] " if each.resource.cluster else ""
    code = f" [{each.code.id}]" if each.code.id else ""
    return f"{cluster}{level}{code} ({printable(where)}) {printable(each.text)}"


def print_lines(found: Iterable[Message]) -> None:
    """Print a line for each finding, with colours where a person reads them."""
    colours = has_colours()
    for each in found:
        print(line(each, colours=colours))


def _value(each: Message) -> dict[str, Any]:
    stated = {
        "code": each.code.id,
        "documentationUrl": f"docs/{each.code.documentation}" if each.code.id else "",
        "level": each.code.level.value,
        "message": each.text,
        "origin": each.resource.origin.strip(),
    }
    more = {"reference": reference(each), "path": each.path, "cluster": each.resource.cluster}
    return stated | {name: text for name, text in more.items() if text}


def json_text(found: Iterable[Message]) -> str:
    """Return a JSON list."""
    return json.dumps([_value(each) for each in found], indent="\t")


def yaml_text(found: Iterable[Message]) -> str:
    """Return a YAML list."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump([_value(each) for each in found], Dumper=dumper, sort_keys=False, default_flow_style=False)
    return text
