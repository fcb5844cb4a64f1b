"""Applies a JSON patch. Reference: RFC 6902."""

from __future__ import annotations

import copy
from typing import Any


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Return the document after the operations; they are of the sorts that an injection makes."""
    result = {"": copy.deepcopy(document)}
    for operation in operations:
        parent: Any = result
        *keys, last = ["", *(each.replace("~1", "/").replace("~0", "~") for each in operation["path"].split("/")[1:])]
        for key in keys:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        at: Any = int(last) if isinstance(parent, list) else last
        match operation["op"]:
            case "remove":
                del parent[at]
            case "add" if isinstance(parent, list):
                parent.insert(at, copy.deepcopy(operation["value"]))
            case _:
                parent[at] = copy.deepcopy(operation["value"])
    return result[""]
