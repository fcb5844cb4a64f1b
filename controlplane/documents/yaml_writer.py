"""Values to YAML text that Kubernetes' own loader, and ours, reads as the same values.

PyYAML writes ``y`` without quotes, which these loaders take for a boolean: every text that they would take for
something else is quoted.
"""

from __future__ import annotations

from typing import Any

import yaml

from controlplane.documents.scalars import plain

_WIDTH = 1_000_000
"""Lines are not broken: a text that is one line stays one."""


class _Dumper(yaml.SafeDumper):
    """Writes a value out each time it occurs, and texts as such."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - PyYAML's interface
        return True


class _ReadableDumper(_Dumper):
    """Writes texts of several lines as these lines, for a person."""


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "'" if plain(value) != value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _in_lines(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if "\n" in value:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|")
    return _quoted(dumper, value)


_Dumper.add_representer(str, _quoted)
_ReadableDumper.add_representer(str, _in_lines)


def yaml_text(value: object) -> str:
    """Return a value as YAML, keys in their order of letters; without a line end, as templates expect it."""
    text = str(yaml.dump(value, Dumper=_Dumper, default_flow_style=False, width=_WIDTH))
    return text.removesuffix("\n").removesuffix("\n...")  # which says that a bare value ends


def readable_yaml(value: object) -> str:
    """Return a value as YAML for a person, keys in their own order; ends with a line end."""
    return str(yaml.dump(value, Dumper=_ReadableDumper, default_flow_style=False, width=120, sort_keys=False))
