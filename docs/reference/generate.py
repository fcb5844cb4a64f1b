"""Writes the pages of this folder from the code: ``make reference``; with ``--check``, says which are not current.

``events.toml`` has what no code says: what a log event means and what to do. Every event of the code has an entry.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from prometheus_client.core import Metric

from controlplane import metrics
from controlplane.admin.application import DEBUG_ENDPOINTS
from controlplane.admin.metrics_page import asked_metrics
from controlplane.admin.sources import AdminSources, Read, Take
from controlplane.analysis.codes import ALL_CODES
from controlplane.analysis.untranslated import MESH_NOT_TRANSLATED, NOT_TRANSLATED
from controlplane.api.openapi import document
from controlplane.apis.common import ApiModel
from controlplane.apis.kinds import KINDS
from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.documents.json_reader import json_value
from controlplane.limits import Limits
from controlplane.model.feeds import Feed, Standing
from controlplane.model.proxy import Proxy
from controlplane.settings import Settings
from controlplane.settings.durations import format_duration
from controlplane.settings.options import environment_variable, flag, option
from controlplane.wiring import look_alikes  # noqa: F401 - its metrics are there once it is imported
from docs.reference.commands import command_pages, commands_page
from docs.reference.log_events import events

HERE = Path(__file__).parent
WRITTEN = "<!-- Written by `make reference` from the code. -->\n"
_SETTINGS = """\
# Settings

Options of `controlplane serve`. Each is also an environment variable. An option wins over its variable. The second
variable is istiod's; it counts where ours is not set.
"""
_METRICS = """\
# Metrics

The page `/metrics` of the monitoring port, in Prometheus' text format. Names that istiod has too mean the same there.

| metric | type | labels | meaning |
|---|---|---|---|
"""
_DEBUG = """\
# Debug pages

Pages of the monitoring port (15014). They are JSON, and answer callers on loopback only: in a cluster, use
`kubectl port-forward`. The request's `Host` must be `localhost` or a loopback address.

`?pretty` indents. `?limit=N` gives a long list in pages; the answer's `Link` header leads to the next one.

| page | shows |
|---|---|
"""
_API = """\
# The HTTP API

`/api/v1` on the monitoring port (15014): what [the page](../page.md) shows, for programs. It changes nothing, and
answers whom the [debug pages](debug.md) answer. `/api/v1/openapi.json` describes it (OpenAPI 3.1).

- **Lists** have `items`, `total` (how many there are) and `next`: the parameter `after` of the next page, null at the
  end.
- **Errors** have one shape (RFC 9457, `application/problem+json`): `title`, `status`, and `detail`, a sentence. A
  parameter that is not known is one, so that no filter is passed over in silence. An address may have 8 KB.
- Answers with an `ETag` need not be sent again: ask with `If-None-Match`, and 304 says that nothing has changed.
- Within `v1`, fields are added and none is taken away or given another meaning.

```console
$ curl -s 'localhost:15014/api/v1/proxies?troubled=true&limit=10'
$ curl -sN localhost:15014/api/v1/events/stream
```
"""
_EVENTS = """\
# Log events

The log has one line for each event: JSON, or on a terminal text (`--log-format`). `event` is its name, and what belongs
to it stands in keys of its own. Names are stable.

| event | level | keys | means | what to do |
|---|---|---|---|---|
"""
_CODES = """\
# Codes of findings

What `controlplane analyze` finds, by code. Words in braces stand for names of the objects concerned. A code that begins
with `IST` means what Istio means by it.
"""
_FIELDS = """\
# Supported fields

All fields of Istio's API are read and checked. A field is **in force** unless it stands here as not translated. Then
the log says so once (`registry.field_not_translated`), and the object's condition does.

| kind | versions | fields | not translated |
|---|---|---|---|"""
_MESH = """\

## The mesh configuration

The ConfigMap `istio` of the root namespace, keys `mesh` and `meshNetworks`. Not translated, or meant for an injector or
an agent:
"""
_OF_THE_PROCESS = """

Beside these are the usual metrics of the process and of Python (`process_...`, `python_...`).
"""
_PROCESS = ("process_", "python_")


def settings_page() -> str:
    """Return the page of what ``serve`` can be told."""
    hints = get_type_hints(Settings, include_extras=True)
    panels: dict[str, list[str]] = {}
    inherited = {limit.name for limit in fields(Limits)}
    for field in sorted(fields(Settings), key=lambda field: field.name in inherited):  # as `serve --help` has them
        said = option(get_args(hints[field.name])[1])
        name = flag(field.name)
        shown = f"`{name}`, `--no-{name[2:]}`" if isinstance(field.default, bool) else f"`{name}`"
        variables = ", ".join(f"`{each}`" for each in (environment_variable(field.name), said.istiod) if each)
        panels.setdefault(said.panel, []).append(f"| {shown} | {variables} | {_default(field.default)} | {said.text} |")
    parts = [_SETTINGS]
    for panel, rows in panels.items():
        parts.append(
            f"## {panel}\n\n| option | variable | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(parts)


def _default(value: object) -> str:
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, StrEnum):
        return f"`{value.value}`"
    return f"`{value}`" if value not in {None, ""} else "-"


def metrics_page() -> str:
    """Return the page of the metrics."""
    held: list[tuple[Metric, tuple[str, ...]]] = []
    for collector in metrics.REGISTRY._collector_to_names:  # noqa: SLF001 - labels of which there is no sample yet
        labels = tuple(getattr(collector, "_labelnames", ()))
        held += [(metric, labels) for metric in collector.collect()]
    held += [(metric, ()) for metric in asked_metrics(_sources(), 0)]
    rows = sorted({_metric_row(metric, labels) for metric, labels in held if not metric.name.startswith(_PROCESS)})
    return _METRICS + "\n".join(rows) + _OF_THE_PROCESS


def _metric_row(metric: Metric, labels: tuple[str, ...]) -> str:
    seen = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
    shown = ", ".join(f"`{label}`" for label in labels or seen) or "-"
    return f"| `{metrics.written_name(metric)}` | {metric.type} | {shown} | {metric.documentation} |"


def _sources() -> AdminSources:
    """Return those of a control plane that reads a cluster and has one proxy."""
    proxy = Proxy("sidecar", "web.shop", ("10.0.0.5",), "shop", "shop.svc.cluster.local")
    feed = Feed("pods", "", Standing.CURRENT, 0, 0, 0, 0, 0.0, 0.0, "")
    return AdminSources(
        ready=lambda: (True, ""),
        proxies=lambda: {"web.shop-1": proxy},
        status=lambda _: None,
        snapshot=lambda _: None,
        services=tuple,
        endpoints=lambda _: (),
        behind=lambda *_: (),
        explain=_explain,
        plan=_plan,
        rejected=tuple,
        identity="",
        feeds=lambda: (feed,),
    )


async def _plan(_read: Read, _take: Take) -> None:
    return


async def _explain(_asked: object) -> dict[str, Any]:
    return {}


def debug_page() -> str:
    """Return the page of the debug pages."""
    rows = [f"| `{path}` | {text} |" for path, (_, text) in DEBUG_ENDPOINTS.items()]
    return _DEBUG + "\n".join(rows) + "\n"


def api_page() -> str:
    """Return the page of the API, from its description."""
    described = json_value(document())
    parts = [_API]
    for path, held in described["paths"].items():
        ((method, operation),) = held.items()
        parts.append(f"\n## {method.upper()} {path}\n\n{operation['summary']}.\n")
        rows = [_parameter_row(each) for each in operation["parameters"]]
        if rows:
            parts.append("| parameter | in | | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n")
        if "requestBody" in operation:
            sent = operation["requestBody"]["content"]["application/json"]["schema"]
            parts.append(f"Sent with it: {_schema_words(sent)}.\n")
        answers = [_answer_words(status, answer) for status, answer in operation["responses"].items()]
        parts.append(f"Answers: {'; '.join(answers)}.\n")
    parts.append("\n# Shapes\n")
    for name, schema in sorted(described["components"]["schemas"].items()):
        parts.append(f"\n## {name}\n\n{schema.get('description', '').strip()}\n")
        rows = [_field_row(field, value) for field, value in schema.get("properties", {}).items()]
        if rows:
            parts.append("| field | type | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n")
        if "enum" in schema:
            parts.append(", ".join(f"`{each}`" for each in schema["enum"]) + "\n")
    return "\n".join(parts)


def _parameter_row(parameter: Mapping[str, Any]) -> str:
    needed = "needed" if parameter["required"] else ""
    return f"| `{parameter['name']}` | {parameter['in']} | {needed} | {parameter['description'] or '-'} |"


def _field_row(name: str, schema: Mapping[str, Any]) -> str:
    return f"| `{name}` | {_schema_words(schema)} | {schema.get('description', '-')} |"


def _answer_words(status: str, answer: Mapping[str, Any]) -> str:
    shapes = [_schema_words(held["schema"]) for held in answer.get("content", {}).values()]
    return f"{status}" + (f" with {shapes[0]}" if shapes else "")


def _schema_words(schema: Mapping[str, Any]) -> str:
    """Return a schema in a few words, with links to the shapes of this page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_schema_words(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_schema_words(schema.get('items', {}))}"
    if "items" in schema.get("properties", {}):
        return f"a {_schema_words(schema['properties']['items'])}"
    return str(schema.get("format") or schema.get("type") or "any JSON")


def told() -> Mapping[str, Mapping[str, str]]:
    """Return what people wrote about events."""
    return tomllib.loads((HERE / "events.toml").read_text(encoding="utf-8"))


def events_page() -> str:
    """Return the page of the log events."""
    texts = told()
    rows = []
    for event in events().values():
        text = texts.get(event.name, {})
        levels = ", ".join(sorted(event.levels)) or "-"
        keys = ", ".join(f"`{key}`" for key in sorted(event.keys)) or "-"
        rows.append(f"| `{event.name}` | {levels} | {keys} | {text.get('means', '')} | {text.get('do', '-')} |")
    return _EVENTS + "\n".join(rows) + "\n"


def remedies() -> Mapping[str, str]:
    """Return what people wrote about codes."""
    return tomllib.loads((HERE / "codes.toml").read_text(encoding="utf-8"))


def codes_page() -> str:
    """Return the page of the codes of findings."""
    texts = remedies()
    parts = [_CODES]
    for code in ALL_CODES:
        sentence = code.sentence[:1].upper() + code.sentence[1:]
        parts.append(f"## {code.id}\n\n{code.name}, {code.level}: {sentence}.\n\n{texts.get(code.id, '')}\n")
    return "\n".join(parts)


def fields_page() -> str:
    """Return the page of the fields that are supported."""
    parts = [_FIELDS]
    for kind in KINDS.values():
        paths = sorted(_paths(kind.load(), "spec", ()))
        without = [path for path in paths if _ends(path, NOT_TRANSLATED.get(kind.name, ()))]
        shown = ", ".join(f"`{path}`" for path in _outer(without)) or "-"
        parts.append(f"| {kind.name} (`{kind.group}`) | {', '.join(kind.versions)} | {len(paths)} | {shown} |")
    parts.append(_MESH)
    parts += [f"- `{path}`" for path in MESH_NOT_TRANSLATED]
    known = len(_paths(MeshConfig, "mesh", ())) + len(_paths(MeshNetworks, "meshNetworks", ()))
    parts.append(f"\nThese are {len(MESH_NOT_TRANSLATED)} entries of {known} fields.\n")
    return "\n".join(parts)


def _ends(path: str, ends: tuple[str, ...]) -> bool:
    return any(path.endswith(f".{end}") or f".{end}." in path or f".{end}[]" in path for end in ends)


def _outer(paths: list[str]) -> Iterator[str]:
    """Yield the paths that are not within another of them."""
    for path in paths:
        if not any(path != other and path.startswith((f"{other}.", f"{other}[]", f"{other}{{}}")) for other in paths):
            yield path


def _paths(model: type[ApiModel], path: str, within: tuple[type[ApiModel], ...]) -> set[str]:
    """Return the paths of a model's fields, as ``used_fields`` gives them; a model within itself ends there."""
    found: set[str] = set()
    if model in within:
        return found
    for field in model.model_fields.values():
        here = f"{path}.{field.alias}"
        found.add(here)
        for inner, mark in _models(field.annotation, ""):
            found |= _paths(inner, here + mark, (*within, model))
    return found


def _models(annotation: Any, mark: str) -> Iterator[tuple[type[ApiModel], str]]:  # noqa: ANN401 - any annotation
    """Yield the models in an annotation, each with what its path gets: ``[]`` in a list, ``{}`` in a map."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation, mark
        return
    origin = getattr(annotation, "__origin__", None)
    inner = "[]" if origin is tuple else "{}" if isinstance(origin, type) and issubclass(origin, Mapping) else mark
    for each in get_args(annotation):
        yield from _models(each, inner)


PAGES = {
    "commands.md": commands_page,
    **command_pages(),
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "debug.md": debug_page,
    "api.md": api_page,
    "events.md": events_page,
    "fields.md": fields_page,
    "codes.md": codes_page,
}


def pages() -> Mapping[str, str]:
    """Return the text of each page by its file name."""
    return {name: WRITTEN + make() for name, make in PAGES.items()}


def untold() -> set[str]:
    """Return the events of which ``events.toml`` says nothing, and what it speaks of and is none."""
    return set(events()) ^ set(told())


def main() -> int:
    """Write the pages, or check them; 1 where one is not current or an event has no text."""
    problems = [f"docs/reference/events.toml and the code differ: {name}" for name in sorted(untold())]
    without = {code.id for code in ALL_CODES} ^ set(remedies())
    problems += [f"docs/reference/codes.toml and the code differ: {name}" for name in sorted(without)]
    for name, text in pages().items():
        path = HERE / name
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            problems.append(f"docs/reference/{name} is not current: run `make reference`")
    for problem in problems:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
