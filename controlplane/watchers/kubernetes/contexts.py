"""Which contexts the files of a kubeconfig have: the client library says only that something is not in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from controlplane.documents.limits import UnreadableError
from controlplane.documents.nearest import nearest_text
from controlplane.documents.yaml_reader import yaml_value
from controlplane.watchers.kubernetes.errors import ConfigurationError

USUAL_KUBECONFIG = "~/.kube/config"
_LONGEST = 16 << 20
"""Characters of a file; certificates and keys of many clusters may be in it."""


def check_kubeconfig(files: str, context: str) -> None:
    """Look whether the files, with colons between them, are there, and have a context; an empty one is not looked for.

    Raises:
        ConfigurationError: there is none of them, or none has the context.
    """
    paths = [Path(each).expanduser() for each in files.split(os.pathsep) if each]
    there = [path for path in paths if path.is_file()]
    if not there:
        named = " or ".join(map(str, paths)) or "an empty $KUBECONFIG"
        raise ConfigurationError(f"there is no kubeconfig: {named} is no file; --kubeconfig names one")
    if not context:
        return
    known = [name for path in there for name in _contexts(path)]
    if context not in known:
        has = nearest_text(context, known) or (f"; it has {', '.join(known)}" if known else "; it has none")
        raise ConfigurationError(f"--context: {' and '.join(map(str, there))} has no context {context}{has}")


def _contexts(path: Path) -> Iterator[str]:
    """Yield the names; what cannot be read is told of by who uses it."""
    try:
        document = yaml_value(path.read_text(encoding="utf-8"), limit=_LONGEST)
    except (OSError, UnreadableError, ValueError):
        return
    held = document.get("contexts") if isinstance(document, Mapping) else None
    for each in held if isinstance(held, list) else ():
        if isinstance(each, Mapping) and isinstance(name := each.get("name"), str):
            yield name
