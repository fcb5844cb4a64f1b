"""What templates say things with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from controlplane.api.models import ObjectName
from controlplane.apis.kinds import KINDS
from controlplane.documents.places import pointer_path
from controlplane.printable import printable

LONGEST = 2_000
"""Characters of one text; the API has more of it."""
_SIZES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
_TEMPLATES = (
    "certificates",
    "changes",
    "compare",
    "compare_resource",
    "error",
    "events_list",
    "explain",
    "home",
    "object",
    "objects",
    "plan",
    "problems",
    "problems_list",
    "proxies",
    "proxies_table",
    "proxy",
    "resource",
    "service",
    "services",
    "topology",
)


def safe(value: object) -> object:
    """Return what is put into a page for a value: nothing for ``None``; a text is cut, control characters are named.

    Whatever stands in braces goes through here, and is escaped then; what is HTML already is left alone.
    """
    if value is None:
        return ""
    if isinstance(value, Markup | bool | int | float):
        return value
    text = str(value)
    shown = printable(text[:LONGEST], keep="\n")
    return shown if len(text) <= LONGEST else f"{shown}… ({len(text) - LONGEST} more characters)"


def age(at: datetime | None) -> str:
    """Return for how long it has been so: ``3 min``; of something to come, how long it will take."""
    if at is None:
        return ""
    seconds = abs((datetime.now(UTC) - at).total_seconds())
    size, unit = next(((size, unit) for size, unit in _SIZES if seconds >= size), (1.0, "s"))
    return f"{int(seconds / size)} {unit}"


def moment(at: datetime | None) -> Markup:
    """Return an age as an element that has the time itself, too."""
    if at is None:
        return Markup("")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(at.isoformat(timespec="seconds"), age(at))


def object_text(name: ObjectName) -> str:
    """Return how people write an object: ``VirtualService shop/reviews``."""
    place = f"{name.namespace}/{name.name}" if name.namespace else name.name
    return f"{name.kind} {place}".strip()


def object_path(name: ObjectName) -> str:
    """Return the address of an object's screen, empty where it has none."""
    if name.kind == "Service" and not name.group and name.name:
        return address("/ui/services", namespace=name.namespace, name=f"{name.name}.")
    if not (name.name and name.namespace and name.kind in KINDS):
        return ""
    return "/ui/objects/" + "/".join(quote(part, safe="") for part in (name.kind, name.namespace, name.name))


def object_link(name: ObjectName) -> Markup:
    """Return an object as a link to its screen, as a text where it has none."""
    text, path = safe(object_text(name)), object_path(name)
    if not path:
        return Markup("{}").format(text)
    return Markup('<a href="{}">{}</a>').format(path, text)


def address(path: str, **asked: object) -> str:
    """Return the address of a screen with what is asked of it; what is empty is left out."""
    held = {name.rstrip("_"): value for name, value in asked.items() if value not in ("", None, False)}
    return f"{path}?{urlencode({name: _written(value) for name, value in held.items()})}" if held else path


def _written(value: object) -> str:
    return "true" if value is True else str(value)


def source_link(source: Mapping[str, str]) -> Markup:
    """Return the object that a step of an explanation comes from as a link."""
    kind, namespace, name = source["kind"], source["namespace"], source["name"]
    return object_link(ObjectName(kind=kind, group="", namespace=namespace, name=name))


def written(value: object) -> str:
    """Return a JSON value as people write it: a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def whole(text: str) -> Markup:
    """Return a text of which nothing is cut, since a form sends it back; control characters are named."""
    return Markup("{}").format(printable(text, keep="\n\r\t"))


def part_of_path(text: str) -> Markup:
    """Quote a text that is one part of a path; no letter is left that means something in HTML."""
    return Markup(quote(text, safe=""))  # noqa: S704 - quoted


def size(count: int) -> str:
    """Return a size in bytes as people read it."""
    kilo = 1024
    return (
        f"{count} B" if count < kilo else f"{count / kilo:.1f} KiB" if count < kilo**2 else f"{count / kilo**2:.1f} MiB"
    )


@cache
def environment() -> Environment:
    """Return the templates, read and compiled: it takes a tenth of a second, so it is done in a thread."""
    found = Environment(
        loader=PackageLoader("controlplane.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=safe,
    )
    found.filters |= {"moment": moment, "object_link": object_link, "quoted": part_of_path, "size": size, "age": age}
    found.filters |= {"object_text": object_text, "source_link": source_link, "written": written, "whole": whole}
    found.filters |= {"pointer": pointer_path}
    found.globals |= {"address": lambda path, **asked: escape(address(path, **asked))}
    for name in _TEMPLATES:
        found.get_template(f"{name}.html")
    return found
