"""Who wrote an object last, as the API server remembers it."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any

_LONGEST = 128


def author(metadata: Mapping[str, Any]) -> str:
    """Return the program that last wrote an object: ``kubectl-client-side-apply``, ``argocd-controller``.

    It is the newest ``manager`` in ``metadata.managedFields`` that wrote more than a part such as the status; empty
    where there is none, as in files. People are not named there: only the API server's audit log knows them.
    """
    entries = metadata.get("managedFields")
    newest, found = "", ""
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping) or entry.get("subresource"):
            continue
        at, manager = str(entry.get("time", "")), entry.get("manager")
        if isinstance(manager, str) and at >= newest:
            newest, found = at, manager
    return intern(found[:_LONGEST])
