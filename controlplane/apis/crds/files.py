"""The definitions as text, as they stand in ``crds/``."""

from __future__ import annotations

from typing import Any

import yaml

from controlplane.apis.crds.definitions import definitions

_HEADER = "# Made by `controlplane crds` from the models in controlplane/apis; a change belongs there.\n"
_WIDTH = 120


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # the C one where there is one
    """Writes a value out each time it occurs: a person who reads a schema should not have to look up anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - PyYAML's interface
        return True


def files() -> dict[str, str]:
    """Return the YAML of every definition by the name of its file."""
    return {
        f"{definition['spec']['names']['plural']}.yaml": _HEADER
        + yaml.dump(definition, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)
        for definition in definitions().values()
    }
