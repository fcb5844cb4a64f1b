"""A stream of YAML documents with sidecars in their pods; what is not injected stays as it is written."""

from __future__ import annotations

from typing import Any

import yaml

from controlplane.documents.limits import Unreadable
from controlplane.documents.scalars import plain
from controlplane.documents.yaml_reader import yaml_documents
from controlplane.injector.errors import InjectionError
from controlplane.injector.settings import Settings
from controlplane.injector.workloads import injected_object

_MARKER = b"---"


def injected_text(content: bytes, file: str, settings: Settings) -> tuple[bytes, list[str]]:
    """Return the documents, each followed by a line ``---``, and what a person should know.

    Raises:
        InjectionError: a document cannot be read or injected; says where in the file.
    """
    result: list[bytes] = []
    notes: list[str] = []
    for line, document in _documents(content):
        injected, left = _injected(document, f"{file}:{line}", settings)
        result += [injected, b"" if injected.endswith(b"\n") or not injected else b"\n", _MARKER, b"\n"]
        notes += left
    return b"".join(result), notes


def _documents(content: bytes) -> list[tuple[int, bytes]]:
    """Cut a stream at its markers: (line from 1, text) of each document; what holds nothing at all is left out."""
    found, lines, begun = [], list[bytes](), 1
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True), 1):
        behind = line[len(_MARKER) :].strip() if line.startswith(_MARKER) else b"-"
        if not behind or (behind.startswith(b"#") and line[len(_MARKER) : len(_MARKER) + 1].isspace()):
            found.append((begun, b"".join(lines)))
            lines, begun = [], number + 1
        else:
            lines.append(line)
    return [(line, each) for line, each in [*found, (begun, b"".join(lines))] if each.strip()]


def _injected(document: bytes, where: str, settings: Settings) -> tuple[bytes, list[str]]:
    try:
        text = document.decode()
    except UnicodeDecodeError as error:
        raise InjectionError(f"{where}: is not UTF-8 text") from error
    values = [each for each in yaml_documents(text) if isinstance(each, Unreadable) or each.value is not None]
    for each in values:
        if isinstance(each, Unreadable):
            raise InjectionError(f"{where}: not readable: line {each.line} of the document: {each.reason}")
    if len(values) != 1 or isinstance(values[0], Unreadable) or not isinstance(values[0].value, dict):
        return document, []
    value = values[0].value
    try:
        injected, skipped = injected_object(value, settings)
    except InjectionError as error:
        raise InjectionError(f"{where}: {error}") from error
    notes = [str(each) for each in skipped]
    return (document, notes) if injected is value else (_written(injected), notes)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # the base is chosen at run time
    """Writes texts so that every reader of YAML takes them for texts, and no anchors."""

    def ignore_aliases(self, _data: Any) -> bool:  # noqa: ANN401 - any value
        """Write a value that occurs twice, twice."""
        return True


def _text(dumper: Any, value: str) -> Any:  # noqa: ANN401 - yaml's own
    """Quote what would be read as something else; several lines are written as such."""
    style = "|" if "\n" in value.strip("\n") else None
    if style is None and not isinstance(plain(value), str):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _written(value: dict[str, Any]) -> bytes:
    text: bytes = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=False,
        sort_keys=True,
        allow_unicode=True,
        width=10_000,
        encoding="utf-8",
    )
    return text
